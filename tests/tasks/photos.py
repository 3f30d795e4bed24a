"""A few photographs held in memory and a model that needs no training, for tests of what is measured and said."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from gcvit.data.images import ImageError
from gcvit.tasks.classify import CLASSIFY
from gcvit.tasks.classify.evaluation import ClassifyEvaluation
from gcvit.tasks.classify.settings import ClassifyLooks
from gcvit.tasks.evaluate import Evaluator
from gcvit.tasks.opened import Opened
from gcvit.tasks.task import HeldOut
from gcvit.weights.preprocessing import Preprocessing

CLASSES = ["<b>left</b>", "right", "neither"]
SIZES = [(40, 64), (40, 64), (33, 50), (40, 64), (64, 40), (64, 40), (64, 40), (1, 70), (37, 41)]


class Photos:
    """Noise of the given (height, width), of the classes in turn. An entry None is one that cannot be read."""

    def __init__(self, sizes: Sequence[tuple[int, int] | None]) -> None:
        self.sizes, self.classes = list(sizes), list(CLASSES)

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        size = self.sizes[index]
        if size is None:
            raise ImageError(f"cannot read image {self.name(index)}: cut off")
        draw = np.random.default_rng(index)
        brighter = np.linspace(*draw.uniform(0, 255, 2), size[1])[None, :, None]
        pixels = (brighter + draw.normal(0, 40, (*size, 3))).clip(0, 255)
        return Image.fromarray(pixels.astype(np.uint8)), index % len(self.classes)

    def name(self, index: int) -> str:
        return f"photos/{index:02}.png"


class Halves(nn.Module):
    """Logits that are a known function of the image: its mean in the left half and in the right half, and zero."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(5.0))

    def forward(self, images: Tensor) -> Tensor:
        left, right = (half.mean((1, 2, 3)) for half in images.chunk(2, dim=3))
        return torch.stack([self.scale * left, self.scale * right, torch.zeros(len(images))], dim=1)

    def fold(self) -> Self:
        return deepcopy(self).eval()


def opened(found: nn.Module | None = None, preprocessing: Preprocessing | None = None) -> Opened:
    """That model, or another one, with its classes; at 32 px."""
    preprocessing = preprocessing or Preprocessing((32, 32), crop_pct=1.0)
    return Opened(CLASSIFY, found or Halves().eval(), "gcvit_halves", preprocessing, list(CLASSES))


def evaluator(
    photos: Any,
    looks: ClassifyLooks | None = None,
    preprocessing: Preprocessing | None = None,
    columns: list[int] | None = None,
    **settings: Any,
) -> Evaluator:
    """What measures models on photographs, up to 4 at once."""
    settings = {"batch_size": 4, **settings}
    about = opened(preprocessing=preprocessing)
    return Evaluator(about, HeldOut(photos, "some photos", columns), looks or ClassifyLooks(), **settings)


def evaluate(photos: Any, found: nn.Module | None = None, **settings: Any) -> ClassifyEvaluation:
    """What that model, or another one, reaches on photographs."""
    measures = evaluator(photos, **settings)
    try:
        result = measures(found or Halves().eval(), device=torch.device("cpu"))
    finally:
        measures.close()
    assert isinstance(result, ClassifyEvaluation)
    return result
