"""Small detectors, pictures and objects."""

from typing import TypeVar

import torch
from torch import Tensor

from gcvit.factory import create_model
from gcvit.tasks.detect.detector import Detector
from gcvit.tasks.detect.mmdet import detector_names
from gcvit.tasks.detect.objects import Targets
from gcvit.tasks.detect.settings import HeadConfig

CLASSES = 3
Model = TypeVar("Model", bound=Detector)
SMALL = {"channels": 8, "hidden": 16, "box_samples": 32, "proposals": 40, "anchor_samples": 64}


def to_mmdet(model: Detector) -> dict[str, Tensor]:
    """Its state with mmdetection's names."""
    names = detector_names(model)
    return {names[name]: tensor for name, tensor in model.state_dict().items()}


def random_boxes(number: int, seed: int, side: float = 200, dtype: torch.dtype = torch.float64) -> Tensor:
    """Boxes of all sizes within a square picture."""
    ends = torch.rand(number, 2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (side * ends.sort(1).values.flatten(1)).to(dtype)


def random_objects(number: int, size: tuple[int, int], seed: int = 0, dtype: torch.dtype = torch.float32) -> Targets:
    """Ellipses of at least 8 px a side."""
    height, width = size
    generator = torch.Generator().manual_seed(seed)
    share = torch.rand(number, 4, generator=generator, dtype=torch.float64)
    extent = 8 + share[:, 2:] * (torch.tensor([width, height]) - 8)
    start = share[:, :2] * (torch.tensor([width, height]) - extent)
    boxes = torch.cat([start, start + extent], 1)
    y, x = torch.arange(height) + 0.5, torch.arange(width) + 0.5
    middle, half = start + extent / 2, extent / 2
    across = ((x - middle[:, :1]) / half[:, :1]) ** 2
    down = ((y - middle[:, 1:]) / half[:, 1:]) ** 2
    masks = down[:, :, None] + across[:, None] <= 1
    labels = torch.randint(0, CLASSES, (number,), generator=generator)
    return Targets(boxes.to(dtype), labels, masks, seed)


def detector(seed: int = 0, **head: object) -> Detector:
    """Untrained, with the outputs of `decided`."""
    torch.manual_seed(seed)
    config = HeadConfig(**(SMALL | head))  # type: ignore[arg-type]
    return decided(Detector(create_model("gcvit_pico", head=False), CLASSES, config))


def decided(model: Model) -> Model:
    """With outputs that are far enough from each other for decisions that rounding does not change."""
    for part in (model.rpn, *model.roi_heads.box_heads):
        torch.nn.init.normal_(part.classifier.weight, std=0.3)
        torch.nn.init.normal_(part.regressor.weight, std=0.1)
    return model.eval()


def pictures(*sizes: tuple[int, int], seed: int = 1, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(3, *size, generator=generator).to(dtype) for size in sizes]
