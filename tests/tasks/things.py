"""A few pictures with objects held in memory and a model that guesses, for tests of what is measured and drawn."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from gcvit.data import masks as run_lengths
from gcvit.data.images import ImageError
from gcvit.data.label_maps import default_palette
from gcvit.data.objects import Objects
from gcvit.tasks.detect import DETECT, HeadConfig
from gcvit.tasks.detect.evaluation import DetectEvaluation
from gcvit.tasks.detect.objects import Detections
from gcvit.tasks.detect.settings import DetectLooks, DetectPreprocessing
from gcvit.tasks.evaluate import Evaluator
from gcvit.tasks.opened import Opened
from gcvit.tasks.task import HeldOut

CLASSES = ["cat", "dog", "<b>cow</b>", "bird"]
SHARES = [(0.1, 0.1, 0.45, 0.5), (0.5, 0.4, 0.95, 0.9)]  # of the picture, where objects are
SIZES = [(40, 64), (40, 64), (33, 50), (40, 64), (64, 40), (64, 40), (64, 40), (37, 41)]


class Things:
    """Pictures of the given (height, width) with two objects each. An entry None is one that cannot be read."""

    has_masks = True

    def __init__(self, sizes: Sequence[tuple[int, int] | None], classes: Sequence[str] = CLASSES) -> None:
        self.sizes, self.classes, self.palette = list(sizes), list(classes), default_palette(len(classes))

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> tuple[Image.Image, Objects]:
        size = self.sizes[index]
        if size is None:
            raise ImageError(f"cannot read image {self.name(index)}: cut off")
        height, width = size
        corners = np.array(SHARES) * [width, height, width, height]
        bitmaps = np.zeros((len(SHARES), height, width), np.uint8)
        for bitmap, (left, top, right, below) in zip(bitmaps, corners.round().astype(int), strict=True):
            bitmap[top:below, left:right] = 1
        masks = run_lengths.encode(bitmaps)
        labels = np.array([index % len(self.classes), (index // 2) % len(self.classes)])
        xywh = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)
        crowd = np.zeros(len(SHARES), bool)
        noise = np.random.default_rng(index).integers(0, 255, (height, width, 3), dtype=np.uint8)
        return Image.fromarray(noise), Objects(size, xywh, labels, crowd, xywh[:, 2] * xywh[:, 3], masks)

    def name(self, index: int) -> str:
        return f"things/{index:02}.png"

    def image_id(self, index: int) -> int:
        return 100 + index

    def category_id(self, label: int) -> int:
        return 10 + label


class Guess(nn.Module):
    """Boxes near the objects, each of class 0 and of class 1."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.head_config, self.classes = HeadConfig(), classes
        self.shift = nn.Parameter(torch.tensor(0.02))

    def forward(self, images: Tensor) -> list[Detections]:
        height, width = images.shape[2:]
        shares = torch.tensor(SHARES) + self.shift.detach()
        boxes = (shares * torch.tensor([width, height, width, height])).repeat(2, 1)
        scores = torch.tensor([0.9, 0.8, 0.6, 0.05])
        labels = torch.tensor([0, 1, 1 % self.classes, 0])
        return [Detections(boxes, scores, labels, torch.full((4, 28, 28), 0.9)) for _ in images]

    def limit(self, proposals: int | None, detections: int | None) -> None:
        """As a detector's."""

    def fold(self) -> "Guess":
        return self


def opened(classes: Sequence[str] = CLASSES) -> Opened:
    """That model with its classes."""
    palette = default_palette(len(classes))
    model = Guess(len(classes)).eval()
    return Opened(DETECT, model, "gcvit_guess", DetectPreprocessing(64, 96), list(classes), palette=palette, source="x")


def evaluate(things: Any, classes: Sequence[str] = CLASSES, **settings: Any) -> DetectEvaluation:
    """What the model is worth on pictures."""
    about = opened(classes)
    settings = {"batch_size": 3, **settings}
    evaluator = Evaluator(about, HeldOut(things, "some things", None), DetectLooks(), **settings)
    try:
        found = evaluator(about.model, device=torch.device("cpu"), precision="fp32")
    finally:
        evaluator.close()
    assert isinstance(found, DetectEvaluation)
    return found
