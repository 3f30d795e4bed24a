"""What a person may set about data: what a pixel is, how labels and annotations are read, and which strings timm reads
as RandAugment."""

import math
import re
from dataclasses import dataclass

from gcvit.errors import require

PIXEL_LIMIT = "GCVIT_MAX_PIXELS"  # the environment variable that sets another limit, in this process and its workers
MOST_CHANNELS = 4_096

# What timm reads: magnitude, layers, increasing, largest magnitude; noise, probability; a set of transforms.
# Sections that it does not know it asserts away or passes over, and more layers than transforms fail while training.
_RAND_AUGMENT = re.compile(r"rand(-(m|inc|mmax)\d+|-n\d|-(mstd|p)\d+(\.\d*)?|-t(weights|3aw|3a))*")


@dataclass(frozen=True)
class PixelFormat:
    """What a model takes for a pixel.

    channels: 3 for RGB of 8 bits; any other number is read with all bits of the file. value_range: the numbers in files
    that are black and white, in any order; None: 0 and the greatest that a file's type can hold, which floats and
    signed integers do not have.

    Raises UserError for values that cannot be.
    """

    channels: int = 3
    value_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        require(1 <= self.channels <= MOST_CHANNELS, "channels", self.channels, f"from 1 to {MOST_CHANNELS:,}")
        limits = self.value_range
        fits = limits is None or (len(limits) == 2 and all(map(math.isfinite, limits)) and limits[0] != limits[1])
        require(fits, "value_range", limits, "two different numbers, black and white, or none")


RGB8 = PixelFormat()


@dataclass(frozen=True)
class LabelReading:
    """How label files are read."""

    classes_file: str | None = None
    """Text file with a class name a line, the first for label 0; none: classes.txt in data, or ADE20K's own."""
    ignore_label: int | None = 255
    """The value in label files of pixels that do not count, beside zero_is_ignored; none: every value is a class."""
    zero_is_ignored: bool | None = None
    """Label 0 does not count and classes start at 1, as in ADE20K; none: for ADE20K only."""

    def __post_init__(self) -> None:
        """Raises UserError for what no label file can hold."""
        label = self.ignore_label
        require(label is None or -(2**31) <= label < 2**32, "ignore_label", label, "a value of 32 bits, or none")


@dataclass(frozen=True)
class CocoReading:
    """How annotations are read.

    turned: whether they were made on pictures turned upright as EXIF says, or on the pictures as stored; None: as the
    sizes in the annotation file tell, upright where they do not.
    """

    turned: bool | None = None


def is_rand_augment(policy: str) -> bool:
    """Whether timm knows what the RandAugment string means in all its parts."""
    return _RAND_AUGMENT.fullmatch(policy) is not None
