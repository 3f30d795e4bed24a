"""Transforms of pictures of one or many channels, float32 (channels, height, width): torchvision's, on tensors."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from timm.data.random_erasing import RandomErasing
from torch import Tensor
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


class Cut(NamedTuple):
    """A random part of a picture, resized. scale: range of its share of the area; ratio: of its width / height."""

    size: Sides
    scale: tuple[float, float]
    ratio: tuple[float, float]
    interpolation: str

    def __call__(self, picture: np.ndarray) -> Tensor:
        pixels = torch.from_numpy(picture)
        top, left, height, width = v2.RandomResizedCrop.get_params(pixels, list(self.scale), list(self.ratio))
        interpolation = random.choice(RANDOM) if self.interpolation == "random" else self.interpolation
        return _resized(pixels[:, top : top + height, left : left + width], self.size, interpolation)


class Jitter:
    """Random brightness and contrast, the same for all channels of a picture.

    brightness, contrast: ranges of the factors, cut off at 0; probability: of each.
    """

    def __init__(self, brightness: tuple[float, float], contrast: tuple[float, float], probability: float) -> None:
        light, spread = ((max(0.0, low), high) for low, high in (brightness, contrast))
        steps = [v2.ColorJitter(brightness=light), v2.ColorJitter(contrast=spread)]
        self._transform = v2.Compose([v2.RandomApply([step], probability) for step in steps])

    def __call__(self, pixels: Tensor) -> Tensor:
        """Levels from 0 to 1, (channels, height, width)."""
        return self._transform(pixels[:, None])[:, 0]  # for torchvision, a channel each is a grey picture each


def train_bands(
    cut: Cut, hflip: float, color_jitter: float, random_erasing: float, mean: Sequence[float], std: Sequence[float]
) -> v2.Compose:
    """The counterpart of timm's transform for training: cut, flip, brightness and contrast, erasing; see
    `augment.train_transform`. Levels from 0 to 1 become float32 (channels, *cut.size)."""
    around = 1 - color_jitter, 1 + color_jitter
    erase = RandomErasing(random_erasing, mode="pixel", max_count=1, num_splits=0, device="cpu")
    steps = [cut, v2.RandomHorizontalFlip(hflip), Jitter(around, around, 1.0), v2.Normalize(list(mean), list(std))]
    return v2.Compose([*steps, erase])


def _resized(pixels: Tensor, size: Sequence[int], interpolation: str) -> Tensor:
    mode = InterpolationMode.NEAREST_EXACT if interpolation == "nearest" else InterpolationMode(interpolation)
    return F.resize_image(pixels, list(size), mode, antialias=True).clamp(0, 1)  # bicubic goes beyond
