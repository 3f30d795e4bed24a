"""How a checkpoint wants its images prepared. Plain data, in timm's terms."""

from dataclasses import asdict, dataclass
from typing import Any

from gcvit.errors import require
from gcvit.model.config import LARGEST_SIDE, MOST_IN_CHANS, Pair, is_count, is_number

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
INTERPOLATIONS = ("bicubic", "bilinear", "nearest", "box", "hamming", "lanczos")
CROP_MODES = ("center", "squash", "border")
LARGEST_STATISTIC = 1e6  # of a mean or standard deviation


@dataclass(frozen=True)
class Preprocessing:
    """Read, resize, crop and normalise.

    size: (height, width) of the model's input in pixels, at most 16384 each.
    crop_pct: share of the resized image's side that the crop keeps, above 0, at most 1.
    crop_mode: "center" resizes the short side and crops; "squash" ignores the aspect ratio; "border" resizes the long
        side and pads.
    interpolation: "bicubic", "bilinear", "nearest", "box", "hamming" or "lanczos".
    mean, std: per channel, of values in 0..1; as many as the images have channels.
    value_range: the numbers in image files that are black and white; None: 0 and the greatest of their type.

    Raises UserError, naming the field, for a value of another type or out of range.
    """

    size: Pair = (224, 224)
    crop_pct: float = 0.875
    crop_mode: str = "center"
    interpolation: str = "bicubic"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    value_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        pair = isinstance(self.size, tuple) and len(self.size) == 2
        sides = pair and all(is_count(side, 1, LARGEST_SIDE) for side in self.size)
        require(sides, "size", self.size, f"height and width in pixels, at most {LARGEST_SIDE}")
        share = is_number(self.crop_pct) and max(self.size) / LARGEST_SIDE <= self.crop_pct <= 1
        least = f"above 0, at most 1, and not so small that images are enlarged beyond {LARGEST_SIDE} pixels"
        require(share, "crop_pct", self.crop_pct, least)
        require(self.crop_mode in CROP_MODES, "crop_mode", self.crop_mode, f"one of {', '.join(CROP_MODES)}")
        known = self.interpolation in INTERPOLATIONS
        require(known, "interpolation", self.interpolation, f"one of {', '.join(INTERPOLATIONS)}")
        fits = _are_statistics(self.mean) and _are_statistics(self.std)
        same = fits and len(self.mean) == len(self.std) and min(self.std) > 0
        require(same, "mean and std", (self.mean, self.std), "numbers, as many in both, for each channel, std above 0")
        limits = self.value_range
        pair = isinstance(limits, tuple) and len(limits) == 2 and all(map(is_number, limits))
        require(
            limits is None or (pair and limits[0] != limits[1]), "value_range", limits, "two different numbers or none"
        )

    def geometry(self) -> dict[str, Any]:
        """All but `value_range`, which the reading of files applies: the arguments of `data.augment.eval_transform`."""
        settings = asdict(self)
        del settings["value_range"]
        return settings


def usual_mean_std(channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """ImageNet's for three channels; for others, which it does not have, the average of its three for each."""
    if channels == len(IMAGENET_MEAN):
        return IMAGENET_MEAN, IMAGENET_STD
    mean, std = (round(sum(values) / len(values), 3) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (mean,) * channels, (std,) * channels


def check_statistics(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """Raise UserError, naming one, unless they are as many numbers in a range that can be computed with."""
    require(len(mean) > 0, "mean", mean, "a number for each channel")
    require(len(std) == len(mean), "std", std, f"as many as mean, {len(mean)}")
    for key, values, least in (("mean", mean, -LARGEST_STATISTIC), ("std", std, 0)):
        fits = least < min(values) and max(values) <= LARGEST_STATISTIC
        require(fits, key, values, f"above {least:g}, at most {LARGEST_STATISTIC:g}")


def _are_statistics(values: object) -> bool:
    if not isinstance(values, tuple) or not 1 <= len(values) <= MOST_IN_CHANS:
        return False
    return all(is_number(value) and abs(value) <= LARGEST_STATISTIC for value in values)
