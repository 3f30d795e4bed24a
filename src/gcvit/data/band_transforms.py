"""Transforms of pictures of one or many channels, float32 (channels, height, width): torchvision's, on tensors."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from timm.data.random_erasing import RandomErasing
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

Sides = tuple[int, int]

INTERPOLATIONS = ("bicubic", "bilinear", "nearest")  # those of tensors
RANDOM = ("bilinear", "bicubic")  # "random" takes one of them


@dataclass(frozen=True)
class EvalBands:
    """The counterpart of timm's transform for evaluation, with the same geometry; see `augment.eval_transform`."""

    size: Sides
    crop_pct: float
    crop_mode: str
    interpolation: str
    mean: Sequence[float]
    std: Sequence[float]

    def __call__(self, picture: np.ndarray) -> Tensor:
        """Levels from 0 to 1, as float32 (channels, *size)."""
        pixels = torch.from_numpy(picture)
        wanted = [math.floor(side / self.crop_pct) for side in self.size]
        if self.crop_mode != "squash":
            ratios = [side / goal for side, goal in zip(pixels.shape[1:], wanted, strict=True)]
            ratio = max(ratios) if self.crop_mode == "border" else min(ratios)
            wanted = [max(1, round(side / ratio)) for side in pixels.shape[1:]]
        pixels = F.normalize(_resized(pixels, wanted, self.interpolation), list(self.mean), list(self.std))
        return F.center_crop(pixels, list(self.size))  # what is missing is 0, the mean


class TrainBands:
    """The counterpart of timm's transform for training: cut, flip, brightness and contrast, erasing."""

    def __init__(
        self,
        size: Sides,
        scale: tuple[float, float],
        ratio: tuple[float, float],
        hflip: float,
        color_jitter: float,
        random_erasing: float,
        interpolation: str,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        self.size, self.scale, self.ratio, self.interpolation = list(size), list(scale), list(ratio), interpolation
        self.flip, self.mean, self.std = v2.RandomHorizontalFlip(hflip), list(mean), list(std)
        self.jitter = Jitter((1 - color_jitter, 1 + color_jitter), (1 - color_jitter, 1 + color_jitter), 1.0)
        self.erase = RandomErasing(random_erasing, mode="pixel", max_count=1, num_splits=0, device="cpu")

    def __call__(self, picture: np.ndarray) -> Tensor:
        """Levels from 0 to 1, as float32 (channels, *size)."""
        pixels = torch.from_numpy(picture)
        top, left, height, width = v2.RandomResizedCrop.get_params(pixels, self.scale, self.ratio)
        interpolation = random.choice(RANDOM) if self.interpolation == "random" else self.interpolation
        pixels = _resized(pixels[:, top : top + height, left : left + width], self.size, interpolation)
        return self.erase(F.normalize(self.jitter(self.flip(pixels)), self.mean, self.std))


@dataclass(frozen=True)
class Jitter:
    """Random brightness and contrast, the same for all channels of a picture.

    brightness, contrast: ranges of the factors, cut off at 0; probability: of each.
    """

    brightness: tuple[float, float]
    contrast: tuple[float, float]
    probability: float
    _transform: nn.Module = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        steps = [
            v2.RandomApply([v2.ColorJitter(**{name: (max(0.0, low), high)})], self.probability)
            for name, (low, high) in (("brightness", self.brightness), ("contrast", self.contrast))
        ]
        object.__setattr__(self, "_transform", v2.Compose(steps))

    def __call__(self, pixels: Tensor) -> Tensor:
        """Levels from 0 to 1, (channels, height, width)."""
        return self._transform(pixels[:, None])[:, 0]  # for torchvision, a channel each is a grey picture each


def _resized(pixels: Tensor, size: Sequence[int], interpolation: str) -> Tensor:
    mode = InterpolationMode.NEAREST_EXACT if interpolation == "nearest" else InterpolationMode(interpolation)
    return F.resize_image(pixels, list(size), mode, antialias=True).clamp(0, 1)  # bicubic goes beyond
