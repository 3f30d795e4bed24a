"""From a picture and its labels to tensors: one geometry for both, random for training, none but a resize after it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor
from torch.nn.functional import pad
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from gcvit.data.augment import Jitter
from gcvit.data.label_maps import IGNORED
from gcvit.data.pixels import Picture

Size = tuple[int, int]
Channels = tuple[float, ...]  # a number for each channel

DRAWS = 10  # crops that are tried for one that no class fills


class _Distort(v2.RandomPhotometricDistort):
    """Without its exchange of channels, which published segmentation models were not trained with."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        return super().make_params(flat_inputs) | {"channel_permutation": None}


_DISTORT = _Distort(hue=(-0.1, 0.1))
_JITTER = Jitter((0.875, 1.125), (0.5, 1.5), 0.5)  # what torchvision's distortion does of it with RGB


@dataclass(frozen=True)
class EvalScene:
    """A picture as a model sees it in evaluation: resized, normalised, whole.

    resize: (long, short), see `resized_to`; None: as it is. mean, std: per channel, on a scale of 0 to 1; as many as
    the pictures have channels.
    """

    resize: Size | None = None
    mean: Channels = IMAGENET_DEFAULT_MEAN
    std: Channels = IMAGENET_DEFAULT_STD

    def __call__(self, picture: Picture) -> Tensor:
        """A picture as float32 (channels, height, width)."""
        pixels = pixels_of(picture)
        return normalised(resized_pixels(pixels, resized_to(pixels.shape[1:], self.resize)), self.mean, self.std)


@dataclass(frozen=True)
class TrainScene:
    """A random crop of a picture and its labels, varied as for published segmentation models.

    resize: (long, short), see `resized_to`; None: as it is. scale: range of a factor on top of that.
    crop: (height, width) of the result. What a smaller picture lacks, right and below, is the mean colour, ignored.
    cat_max_ratio: share of a crop's labelled pixels that no class may reach, and two classes must be there, if one of
        ten draws is so; at 1 the first draw is taken.
    hflip: probability of a left-right flip. photometric: random brightness, contrast, saturation and hue; of other
    pictures than RGB the first two. mean, std: per channel, on a scale of 0 to 1; as many as there are channels.
    """

    resize: Size | None = None
    scale: tuple[float, float] = (0.5, 2.0)
    crop: Size = (512, 512)
    cat_max_ratio: float = 0.75
    hflip: float = 0.5
    photometric: bool = True
    mean: Channels = IMAGENET_DEFAULT_MEAN
    std: Channels = IMAGENET_DEFAULT_STD

    def __call__(self, picture: Picture, labels: np.ndarray) -> tuple[Tensor, Tensor]:
        """A picture and int16 labels (height, width), varied: float32 (channels, *crop) and int64 (*crop).

        Draws from the global generators of `random` and torch.
        """
        pixels = pixels_of(picture)
        size = resized_to(pixels.shape[1:], self.resize, random.uniform(*self.scale))
        pixels = resized_pixels(pixels, size)
        truth = resized_labels(torch.from_numpy(np.ascontiguousarray(labels)), size)
        top, left = self._place(truth)
        height, width = self.crop
        pixels = pixels[:, top : top + height, left : left + width]
        truth = truth[top : top + height, left : left + width]
        if random.random() < self.hflip:
            pixels, truth = pixels.flip(2), truth.flip(1)
        if self.photometric:
            pixels = _DISTORT(pixels) if pixels.dtype == torch.uint8 else _JITTER(pixels)
        missing = (0, width - truth.shape[1], 0, height - truth.shape[0])
        pixels = pad(normalised(pixels, self.mean, self.std), missing)
        return pixels, pad(truth.long(), missing, value=IGNORED)

    def _place(self, labels: Tensor) -> tuple[int, int]:
        """Where the crop begins."""
        (height, width), (rows, columns) = self.crop, labels.shape
        top = left = 0
        for _ in range(DRAWS):
            top, left = random.randint(0, max(rows - height, 0)), random.randint(0, max(columns - width, 0))
            if self.cat_max_ratio == 1:
                break
            part = labels[top : top + height, left : left + width]
            pixels = torch.bincount(part.flatten().long() - IGNORED)[1:]  # ten times faster than unique
            if pixels.count_nonzero() > 1 and pixels.max() < self.cat_max_ratio * pixels.sum():
                break
        return top, left


def resized_to(size: Sequence[int], limits: Size | None, factor: float = 1.0) -> Size:
    """The (height, width) that a picture of `size` is resized to.

    limits: (long, short): as large as may be with its long side up to the one and its short side up to the other,
    keeping its shape; None: its own size. factor: of the result.
    """
    if limits is not None:
        factor *= min(max(limits) / max(size), min(limits) / min(size))
    height, width = (max(1, int(side * factor + 0.5)) for side in size)
    return height, width


def resized_labels(labels: Tensor, size: Size) -> Tensor:
    """Labels (height, width) at another size: of each pixel, the one that its centre lies in."""
    if labels.shape == size:
        return labels
    # Not InterpolationMode.NEAREST, which is half a pixel off and what torchvision does with masks.
    resized = F.resize_image(labels[None].float(), list(size), InterpolationMode.NEAREST_EXACT)
    return resized[0].to(labels.dtype)


def pixels_of(picture: Picture) -> Tensor:
    """uint8 of RGB images, float32 from 0 to 1 of others, (channels, height, width)."""
    return F.pil_to_tensor(picture) if isinstance(picture, Image.Image) else torch.from_numpy(picture)


def resized_pixels(pixels: Tensor, size: Size) -> Tensor:
    """A picture's pixels at another size."""
    return pixels if pixels.shape[1:] == size else F.resize_image(pixels, list(size), antialias=True)


def normalised(pixels: Tensor, mean: Channels, std: Channels) -> Tensor:
    """A picture, uint8, as float32 that is normalised per channel."""
    return F.normalize(F.to_dtype(pixels, torch.float32, scale=True), list(mean), list(std))
