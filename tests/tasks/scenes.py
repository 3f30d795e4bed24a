"""A few scenes held in memory and a small model, for tests of what is measured and drawn."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from gcvit.data.images import ImageError
from gcvit.data.label_maps import default_palette
from gcvit.tasks.evaluate import Evaluator
from gcvit.tasks.opened import Opened
from gcvit.tasks.segment import SEGMENT
from gcvit.tasks.segment.evaluation import SegmentEvaluation
from gcvit.tasks.segment.segmenter import SegmentationModel, SegmenterOutput
from gcvit.tasks.segment.settings import ScenePreprocessing, SegmentLooks
from gcvit.tasks.task import HeldOut

CLASSES = ["sky", "road", "<b>tree</b>", "car"]
AS_THEY_ARE = ScenePreprocessing(resize=None, crop=(64, 64))


class Scenes:
    """Scenes of the given (height, width), with labels in stripes that the colours tell, some ignored.

    An entry None is a scene that cannot be read.
    """

    def __init__(self, sizes: Sequence[tuple[int, int] | None], classes: Sequence[str] = CLASSES) -> None:
        self.sizes, self.classes, self.palette = list(sizes), list(classes), default_palette(len(classes))
        self.ignored: set[int] = set()

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> tuple[Image.Image, np.ndarray]:
        size = self.sizes[index]
        if size is None:
            raise ImageError(f"cannot read image {self.name(index)}: cut off")
        draw = np.random.default_rng(index)
        labels = draw.integers(0, len(self.classes), (-(-size[0] // 10), -(-size[1] // 12))).repeat(10, 0).repeat(12, 1)
        labels = labels[: size[0], : size[1]].astype(np.int16)
        pixels = np.array(self.palette)[labels] + draw.normal(0, 25, (*size, 3))
        labels[draw.random(size) < 0.05] = -1
        if index in self.ignored:
            labels[:] = -1
        return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), labels

    def name(self, index: int) -> str:
        return f"scenes/{index:02}.png"


class Coarse(SegmentationModel):
    """Logits at a quarter of the size, nearest colours first: not always right."""

    def __init__(self, palette: Sequence[tuple[int, int, int]]) -> None:
        super().__init__()
        mean, std = torch.tensor(AS_THEY_ARE.mean), torch.tensor(AS_THEY_ARE.std)
        self.colours = nn.Parameter((torch.tensor(palette) / 255 - mean) / std)

    def forward(self, images: Tensor) -> SegmenterOutput:
        cells = nn.functional.avg_pool2d(images, 4, ceil_mode=True)
        apart = (cells[:, None] - self.colours[None, :, :, None, None]).square().sum(2)
        return SegmenterOutput(-apart, None)


SIZES = [(40, 64), (40, 64), (33, 50), (40, 64), (64, 40), (64, 40), (64, 40), (1, 70), (37, 41)]


def model() -> Coarse:
    """For the scenes' colours."""
    return Coarse(default_palette(len(CLASSES))).eval()


def opened(
    found: nn.Module | None = None,
    preprocessing: ScenePreprocessing = AS_THEY_ARE,
    classes: Sequence[str] = CLASSES,
) -> Opened:
    """That model, or another one, with its classes."""
    palette = default_palette(len(classes))
    return Opened(SEGMENT, found or model(), "gcvit_coarse", preprocessing, list(classes), palette=palette)


def evaluator(
    scenes: Any,
    preprocessing: ScenePreprocessing = AS_THEY_ARE,
    columns: list[int] | None = None,
    classes: Sequence[str] = CLASSES,
    **settings: Any,
) -> Evaluator:
    """What measures models on scenes, whole and up to 4 at once."""
    settings = {"batch_size": 4, **settings}
    about = opened(preprocessing=preprocessing, classes=classes)
    return Evaluator(about, HeldOut(scenes, "some scenes", columns), SegmentLooks(), **settings)


def evaluate(scenes: Any, found: nn.Module | None = None, **settings: Any) -> SegmentEvaluation:
    """What that model, or another one, reaches on scenes."""
    measures = evaluator(scenes, **settings)
    try:
        result = measures(found or model(), device=torch.device("cpu"))
    finally:
        measures.close()
    assert isinstance(result, SegmentEvaluation)
    return result
