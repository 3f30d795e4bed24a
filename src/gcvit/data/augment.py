"""Transforms from a picture to a normalised float tensor (channels, h, w): of RGB images timm's, so equal to them; of
pictures with other channels torchvision's, on tensors."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from timm.data import create_transform
from timm.data.auto_augment import RandAugment
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.data.random_erasing import RandomErasing
from torch import Tensor
from torchvision.transforms import Compose, InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from gcvit.data.pixels import Picture, size_of
from gcvit.data.settings import is_rand_augment
from gcvit.errors import UserError

Transform = Callable[[Any], Tensor]  # of a `gcvit.data.pixels.Picture` with as many channels as mean and std

INTERPOLATIONS = ("bicubic", "bilinear", "nearest", "box", "hamming", "lanczos")
_OF_TENSORS = INTERPOLATIONS[:3]  # of pictures with other than three channels

# Beyond this ratio of sides the whole image, resized by its short side, would need gigabytes.
_LONGEST_SHAPE = 64


def eval_transform(
    *,
    size: int | tuple[int, int],
    crop_pct: float = 0.875,
    crop_mode: str = "center",
    interpolation: str = "bicubic",
    mean: tuple[float, ...] = IMAGENET_DEFAULT_MEAN,
    std: tuple[float, ...] = IMAGENET_DEFAULT_STD,
) -> Transform:
    """Evaluation's transform, of RGB images pixel by pixel equal to timm's for the same settings.

    Args:
        size: of the result, a side or (height, width), in pixels.
        crop_pct: share of the resized image's side that the crop keeps, in (0, 1].
        crop_mode: "center" (resize the short side, cut the middle), "squash" (resize both sides; as the 384
            and 512 px models were evaluated) or "border" (resize the long side, pad).
        interpolation: one of INTERPOLATIONS.
        mean, std: per channel, on a scale of 0 to 1; as many as the pictures have channels.

    Raises UserError for values that cannot be, and for an interpolation that is for RGB alone.
    Images whose sides differ by more than 64 times lose their ends before "center" resizes them.
    """
    height, width = _sides(size)
    if not 0 < crop_pct <= 1:
        raise UserError(f"crop_pct must be above 0 and at most 1, got {crop_pct}")
    if crop_mode not in ("center", "squash", "border"):
        raise UserError(f'crop_mode must be "center", "squash" or "border", got {crop_mode!r}')
    if interpolation not in INTERPOLATIONS:
        raise UserError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}, got {interpolation!r}")
    if not (len(mean) == len(std) > 0 and all(map(math.isfinite, (*mean, *std))) and min(std) > 0):
        raise UserError(f"mean and std must be numbers for each channel, std above 0, got {mean} and {std}")
    longest = _LONGEST_SHAPE * math.ceil(max(height, width) / min(height, width))
    if len(mean) != 3:
        _check_bands(interpolation, len(mean))
        bands = _EvalBands((height, width), crop_pct, crop_mode, interpolation, mean, std)
        return _ShortenedFirst(bands, longest) if crop_mode == "center" else bands
    transform = create_transform(
        (height, width),
        crop_pct=crop_pct,
        crop_mode=crop_mode,
        interpolation=interpolation,
        mean=mean,
        std=std,
    )
    return _ShortenedFirst(transform, longest) if crop_mode == "center" else transform


def train_transform(
    *,
    size: int | tuple[int, int],
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    hflip: float = 0.5,
    color_jitter: float = 0.4,
    rand_augment: str | None = "rand-m9-mstd0.5-inc1",
    random_erasing: float = 0.25,
    interpolation: str = "random",
    mean: tuple[float, ...] = IMAGENET_DEFAULT_MEAN,
    std: tuple[float, ...] = IMAGENET_DEFAULT_STD,
) -> Transform:
    """Training's random transform, of RGB images timm's; the defaults are those of the published ImageNet runs.

    Args:
        size: of the result, a side or (height, width), in pixels.
        scale: range of the cut's share of the area. (1, 1) with ratio (1, 1) keeps square images whole.
        ratio: range of the cut's width / height.
        hflip: probability of a left-right flip.
        color_jitter: strength for brightness, contrast and saturation; unused with ``rand_augment``, as in
            timm. 0 turns it off.
        rand_augment: timm's RandAugment string, or None.
        random_erasing: probability of erasing a rectangle (with random pixels).
        interpolation: "random" takes bilinear or bicubic at each draw.
        mean, std: per channel, on a scale of 0 to 1; as many as the pictures have channels.

    Raises UserError for values that cannot be, and for RandAugment with other than three channels.
    """
    if rand_augment is not None and not is_rand_augment(rand_augment):
        raise UserError(f'rand_augment must be like "rand-m9-mstd0.5-inc1" or None, got {rand_augment!r}')
    for name, chance in (("hflip", hflip), ("random_erasing", random_erasing)):
        if not 0 <= chance <= 1:
            raise UserError(f"{name} is a probability, from 0 to 1; got {chance}")
    if len(mean) != 3:
        if rand_augment is not None:
            raise UserError(
                f"RandAugment is for RGB, and these pictures have {len(mean)} channels; leave it out (--rand-augment "
                "none): cuts, flips, brightness and contrast (color_jitter) and erasing remain"
            )
        if interpolation != "random":
            _check_bands(interpolation, len(mean))
        around = 1 - color_jitter, 1 + color_jitter
        return v2.Compose(
            [
                _Cut(_sides(size), scale, ratio, interpolation),
                v2.RandomHorizontalFlip(hflip),
                Jitter(around, around, 1.0),
                v2.Normalize(list(mean), list(std)),
                RandomErasing(random_erasing, mode="pixel", max_count=1, num_splits=0, device="cpu"),
            ]
        )
    transform = create_transform(
        _sides(size),
        is_training=True,
        scale=scale,
        ratio=ratio,
        hflip=hflip,
        color_jitter=color_jitter or None,  # type: ignore[arg-type]  # timm: None for none
        auto_augment=rand_augment,
        re_prob=random_erasing,
        re_mode="pixel",
        interpolation=interpolation,
        mean=mean,
        std=std,
    )
    mend_posterize(transform)
    return transform


def mend_posterize(transform: Compose) -> None:
    """Let timm's RandAugment keep no bit of an image, as it did for the published runs: it turns black.

    At magnitude 10, which noise on 9 reaches, "inc1" asks for 0 bits; Pillow 13 refuses to keep less than one.
    """
    for step in transform.transforms:
        if isinstance(step, RandAugment):
            for operation in step.ops:
                if operation.name.startswith("Posterize"):
                    operation.aug_fn = _posterize


def _posterize(image: Image.Image, bits: int, **_: object) -> Image.Image:
    if bits == 0:
        return Image.new(image.mode, image.size)
    return image if bits >= 8 else ImageOps.posterize(image, bits)


def _check_bands(interpolation: str, channels: int) -> None:
    if interpolation not in _OF_TENSORS:
        known = ", ".join(_OF_TENSORS)
        raise UserError(f"interpolation {interpolation!r} is for RGB; pictures of {channels} channels take {known}")


class _ShortenedFirst:
    """Cuts the ends off very long images; the centre crop would throw them away anyway."""

    def __init__(self, transform: Transform, longest: int):
        self.transform = transform
        self.longest = longest  # in multiples of the short side

    def __call__(self, picture: Picture) -> Tensor:
        width, height = size_of(picture)
        longest = min(width, height) * self.longest
        if max(width, height) > longest:
            left, top = max(0, width - longest) // 2, max(0, height - longest) // 2
            right, bottom = left + min(width, longest), top + min(height, longest)
            if isinstance(picture, Image.Image):
                picture = picture.crop((left, top, right, bottom))
            else:
                picture = picture[:, top:bottom, left:right]
        return self.transform(picture)


def _sides(size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise UserError(f"size must be at least 1 pixel a side, got {size}")
    return height, width


@dataclass(frozen=True)
class _EvalBands:
    """The counterpart of timm's transform for evaluation, with the same geometry; see `eval_transform`."""

    size: tuple[int, int]
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


class _Cut(NamedTuple):
    """A random part of a picture, resized. scale: range of its share of the area; ratio: of its width / height."""

    size: tuple[int, int]
    scale: tuple[float, float]
    ratio: tuple[float, float]
    interpolation: str

    def __call__(self, picture: np.ndarray) -> Tensor:
        pixels = torch.from_numpy(picture)
        top, left, height, width = v2.RandomResizedCrop.get_params(pixels, list(self.scale), list(self.ratio))
        interpolation = random.choice(("bilinear", "bicubic")) if self.interpolation == "random" else self.interpolation
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


def _resized(pixels: Tensor, size: Sequence[int], interpolation: str) -> Tensor:
    mode = InterpolationMode.NEAREST_EXACT if interpolation == "nearest" else InterpolationMode(interpolation)
    return F.resize_image(pixels, list(size), mode, antialias=True).clamp(0, 1)  # bicubic goes beyond
