"""Label maps, one class per pixel: read from and written to image files, whose values are mapped here and only here."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps

from gcvit.data.images import DECODING_ERRORS, MAX_PIXELS, ImageError, check_file, readable_formats
from gcvit.files import write_atomically

IGNORED = -1  # a pixel that does not count
RGB = tuple[int, int, int]

MOST_CLASSES = 4096  # more, and a matrix of confusions no longer fits beside others
CALM: RGB = (72, 88, 104)  # of the first class, which is often what lies behind all others
_PACKED_GREY = {"L;2": 85, "L;4": 17}  # Pillow spreads grey of 2 and 4 bits over 0…255, by these factors


class ColourImageError(ImageError):
    """A picture in colours where one number per pixel is expected."""


@dataclass(frozen=True)
class LabelMapping:
    """What the values in label files mean.

    Attributes:
        classes: how many there are.
        ignore_label: value of pixels that do not count; None: there is none.
        zero_is_ignored: 0 does not count either, and class 0 has the value 1, as in ADE20K.
    """

    classes: int
    ignore_label: int | None = 255
    zero_is_ignored: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError for no class and for more than 4,096."""
        if not 1 <= self.classes <= MOST_CLASSES:
            raise ValueError(f"there must be 1 to {MOST_CLASSES:,} classes, got {self.classes:,}")

    def __call__(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Labels and whether each value is known, for values of any integer type and shape.

        Returns:
            labels: int16, 0 … classes-1, or IGNORED where the value means so or is unknown.
            known: bool.
        """
        labels = values.astype(np.int64) - self.zero_is_ignored  # wide: in uint8, 0 - 1 would be 255
        ignored = labels == -1 if self.zero_is_ignored else np.zeros(values.shape, dtype=bool)
        if self.ignore_label is not None:
            ignored |= labels == self.ignore_label - self.zero_is_ignored
        inside = (labels >= 0) & (labels < self.classes) & ~ignored
        return np.where(inside, labels, IGNORED).astype(np.int16), inside | ignored

    def values(self) -> str:
        """Which values are known, in words."""
        first = int(self.zero_is_ignored)
        ignored = ["0"] if self.zero_is_ignored else []
        ignored += [] if self.ignore_label is None else [str(self.ignore_label)]
        words = f"{first} to {first + self.classes - 1} for the classes"
        return words + (f", {' and '.join(ignored)} ignored" if ignored else "")


def load_labels(source: str | os.PathLike[str], mapping: LabelMapping) -> np.ndarray:
    """The labels of a file, int16 (height, width): 0 … classes-1 and IGNORED.

    Raises ImageError (a ValueError) as `read_label_values`, and for values that the mapping does not know.
    """
    values = read_label_values(source)
    labels, known = mapping(values)
    if not known.all():
        unknown, counts = np.unique(values[~known], return_counts=True)
        found = ", ".join(f"{value} ({count:,} px)" for value, count in zip(unknown[:5], counts[:5], strict=True))
        found += f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise ImageError(
            f"cannot read labels {source}: unknown values {found}; known are {mapping.values()}. "
            "Give the right class names or ignore label, or mend the file"
        )
    return labels


def read_label_values(source: str | os.PathLike[str]) -> np.ndarray:
    """The values in a label file as they are, integers (height, width).

    Grey of 1 to 16 bits, and palettes, whose indices count and not their colours; PNG, BMP or TIFF.

    Raises:
        ImageError: missing, empty, damaged or too large.
        ColourImageError: a picture in colours, which is no label map.
    """
    path = Path(source)
    try:
        check_file(path, "labels")
        with Image.open(path, formats=readable_formats()) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(f"cannot read labels {path}: {image.width}×{image.height} pixels are too many")
            return _values(image, path)
    except ImageError:
        raise
    except Image.UnidentifiedImageError:
        raise ImageError(f"cannot read labels {path}: not an image, or damaged at its start") from None
    except DECODING_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"cannot read labels {path}: {reason}") from error


def is_colour(value: object) -> bool:
    """Whether it is an RGB, as JSON has it too: three whole numbers from 0 to 255."""
    if not isinstance(value, list | tuple) or len(value) != 3:
        return False
    return all(isinstance(part, int) and not isinstance(part, bool) and 0 <= part <= 255 for part in value)


def write_labels(path: str | os.PathLike[str], labels: np.ndarray, palette: Sequence[RGB]) -> None:
    """Write :func:`label_image` as PNG, whole or not at all, so that :func:`load_labels` gives the labels back."""
    buffer = BytesIO()
    label_image(labels, palette).save(buffer, "PNG")
    write_atomically(Path(path), buffer.getvalue())


def label_image(labels: np.ndarray, palette: Sequence[RGB]) -> Image.Image:
    """Labels, integers (height, width) of 0 … classes-1 and IGNORED, as an image whose values are the labels.

    Up to 255 classes are indices of `palette`, which has a colour per class, and 255, white, is for IGNORED; more,
    which a palette cannot hold, are grey of 16 bits, and 65535 is for IGNORED.

    Raises ValueError for a label that is neither a class nor IGNORED.
    """
    if labels.size and not IGNORED <= labels.min() <= labels.max() < len(palette):
        raise ValueError(f"labels must be in {IGNORED}…{len(palette) - 1}, got {labels.min()}…{labels.max()}")
    if len(palette) > 255:
        return Image.fromarray(np.where(labels == IGNORED, 65_535, labels).astype(np.uint16))
    image = Image.fromarray(np.where(labels == IGNORED, 255, labels).astype(np.uint8))
    # All 256: of a shorter palette, Pillow's PNG writer would keep as many bits as its colours need, and cut off 255's.
    unused = [(0, 0, 0)] * (255 - len(palette))
    image.putpalette([value for colour in (*palette, *unused, (255, 255, 255)) for value in colour])
    return image


@cache
def _palette(count: int) -> tuple[RGB, ...]:
    """Each colour is as far as can be from those before it, and from black, white and grey.

    Distance is the "redmean" approximation of what the eye sees, in whole numbers and so the same everywhere.
    """
    candidates = np.array(list(product(range(24, 248, 16), repeat=3)), dtype=np.int64)
    nearest = np.full(len(candidates), np.iinfo(np.int64).max)
    found: list[RGB] = []
    taken = [(0, 0, 0), (255, 255, 255), (128, 128, 128), CALM]
    found.append(CALM)
    for number in range(len(taken) - 1 + min(count, len(candidates))):
        if number >= len(taken):
            red, green, blue = candidates[nearest.argmax()].tolist()
            found.append((red, green, blue))
            taken.append(found[-1])
        apart = candidates - taken[number]
        red_mean = (candidates[:, 0] + taken[number][0]) // 2
        weights = np.stack([512 + red_mean, np.full_like(red_mean, 1024), 767 - red_mean], axis=1)
        nearest = np.minimum(nearest, (weights * apart**2).sum(axis=1))
    return tuple(found)


def default_palette(count: int) -> list[RGB]:
    """A colour, 0 to 255 per channel, for each of `count` classes; those of the first classes are the same for any
    number. Beyond 2,744 classes, more than an eye tells apart, they begin anew."""
    colours = _palette(count)
    return [colours[label % len(colours)] for label in range(count)]


def _values(image: Image.Image, path: Path) -> np.ndarray:
    mode = image.mode
    if mode == "F":
        raise ImageError(f"cannot read labels {path}: it holds floats, not class numbers; save whole numbers")
    if mode not in ("1", "L", "P", "I") and not mode.startswith("I;16"):
        raise ColourImageError(
            f"cannot read labels {path}: {mode} is a picture in colours or with transparency, not one class number "
            "per pixel; write the number of each colour's class as an 8-bit grey or palette PNG, such as "
            "Image.fromarray(numbers.astype('uint8')).save(path) with Pillow"
        )
    packing = image.tile[0].args if isinstance(image, ImageFile.ImageFile) and image.tile else None
    factor = _PACKED_GREY.get(packing[0] if isinstance(packing, tuple) else str(packing), 1)
    image.load()
    return np.asarray(ImageOps.exif_transpose(image)).astype(np.int32) // factor
