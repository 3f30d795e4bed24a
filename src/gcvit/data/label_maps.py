"""Label maps, one class per pixel: read from and written to image files, whose values are mapped here and only here."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

from gcvit.data.formats import Bands, Refused, blocks, png, tiff
from gcvit.data.formats.decoding import decode, kind_of
from gcvit.data.images import ImageError, Source, pixel_limit, read_safely
from gcvit.data.pixels import RGB, upright_array
from gcvit.data.settings import LabelReading
from gcvit.errors import UserError
from gcvit.files import write_atomically
from gcvit.wording import listed

IGNORED = -1  # a pixel that does not count

MOST_CLASSES = 4096  # more, and a matrix of confusions no longer fits beside others
KEEPING = ("PNG", "TIFF", "BMP", "DIB", "GIF", "PPM", "NPY")  # formats; others change numbers, or may have done so
WHITE_FIRST = "white has its lowest number, so it is not clear which numbers are the classes; write it as PNG anew"


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
        """Raises UserError for no class and for more than 4,096."""
        if not 1 <= self.classes <= MOST_CLASSES:
            raise UserError(f"there must be 1 to {MOST_CLASSES:,} classes, got {self.classes:,}")

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


AS_USUAL = LabelReading()


def load_labels(source: Source, mapping: LabelMapping) -> np.ndarray:
    """The labels of a file, int16 (height, width): 0 … classes-1 and IGNORED.

    Raises ImageError (a ValueError) as `read_label_values`, and for values that the mapping does not know.
    """
    values = read_label_values(source)
    labels = np.empty(values.shape, np.int16)
    unknown: Counter[int] = Counter()
    for rows in blocks(*values.shape):
        labels[rows], known = mapping(values[rows])
        if not known.all():
            unknown.update(values[rows][~known].tolist())
    if unknown:
        found = listed(sorted(unknown.items()), show=lambda item: f"{item[0]} ({item[1]:,} px)")
        raise ImageError(
            f"cannot read labels {source}: unknown values {found}; known are {mapping.values()}. "
            "Give the right class names or ignore label, or mend the file"
        )
    return labels


def read_label_values(source: Source) -> np.ndarray:
    """The values in a label file as they are, integers (height, width).

    Grey and signed integers of any number of bits, and palettes, whose indices count and not their colours; PNG, BMP,
    GIF, PGM, TIFF or NumPy's .npy, whatever the file's name says.

    Raises:
        ImageError: missing, empty, damaged, too large, or of a kind that changes numbers, as JPEG does.
        ColourImageError: a picture in colours, which is no label map.
    """
    most = pixel_limit()

    return read_safely(source, most, lambda content: _values(content, most, source), "labels")


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

    Raises UserError for a label that is neither a class nor IGNORED.
    """
    if labels.size and not IGNORED <= labels.min() <= labels.max() < len(palette):
        raise UserError(f"labels must be in {IGNORED}…{len(palette) - 1}, got {labels.min()}…{labels.max()}")
    if len(palette) > 255:
        return Image.fromarray(np.where(labels == IGNORED, 65_535, labels).astype(np.uint16))
    image = Image.fromarray(np.where(labels == IGNORED, 255, labels).astype(np.uint8))
    # All 256: of a shorter palette, Pillow's PNG writer would keep as many bits as its colours need, and cut off 255's.
    unused = [(0, 0, 0)] * (255 - len(palette))
    image.putpalette([value for colour in (*palette, *unused, (255, 255, 255)) for value in colour])
    return image


# Found by a search: no colour is glaring (chroma up to 0.14 in OKLCH), and the least distance (CIEDE2000) between two,
# or from black, white and grey, is as large as can be for eyes without red, green or blue cones and for all others.
# tests/data/test_palette.py measures it. The first class is often what lies behind all others.
FIRST: tuple[RGB, ...] = (
    *((72, 88, 104), (172, 88, 16), (172, 160, 40), (112, 16, 64), (160, 220, 244), (232, 208, 160)),
    *((64, 64, 16), (136, 88, 160), (40, 184, 172), (160, 148, 232), (16, 136, 88), (244, 136, 172)),
    *((172, 184, 112), (16, 76, 148), (244, 196, 88), (100, 172, 124), (196, 100, 100), (100, 148, 52)),
    *((76, 232, 220), (88, 136, 208), (88, 40, 100), (160, 184, 232), (136, 76, 88), (160, 100, 136)),
    *((76, 124, 52), (160, 112, 172), (100, 76, 124), (220, 172, 196), (100, 52, 52), (40, 100, 88)),
    *((160, 64, 16), (196, 136, 148), (172, 148, 196), (88, 100, 52), (220, 160, 148), (220, 124, 112)),
)


@cache
def _palette(count: int) -> tuple[RGB, ...]:
    """Beyond the first, each colour is as far as can be from those before it, and from black, white and grey.

    Distance is the "redmean" approximation of what the eye sees, in whole numbers and so the same everywhere.
    """
    candidates = np.array(list(product(range(24, 248, 16), repeat=3)), dtype=np.int64)
    spread = candidates.max(1) - candidates.min(1)
    candidates = candidates[(spread > 30) & (spread < 150)]  # neither grey nor glaring
    candidates = candidates[~(candidates[:, None] == FIRST).all(2).any(1)]
    nearest = np.full(len(candidates), np.iinfo(np.int64).max)
    found = list(FIRST)
    taken = [(0, 0, 0), (255, 255, 255), (128, 128, 128), *FIRST]
    for number in range(len(taken) + min(count - len(FIRST), len(candidates))):
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
    number. Beyond some 2,000 classes, more than an eye tells apart, they begin anew."""
    colours = _palette(max(count, len(FIRST)))
    return [colours[label % len(colours)] for label in range(count)]


def _coloured(source: Source, what: str) -> ColourImageError:
    return ColourImageError(
        f"cannot read labels {source}: {what} is a picture in colours or with transparency, not one class number per "
        "pixel; write the number of each colour's class as an 8-bit grey or palette PNG, such as "
        "Image.fromarray(numbers.astype('uint8')).save(path) with Pillow"
    )


def _values(content: bytes, max_pixels: int, source: Source) -> np.ndarray:
    values, turned = _stored_values(content, max_pixels, source)
    if values.ndim == 3 and values.shape[2] != 1:
        bands = {3: "RGB", 4: "RGBA"}.get(values.shape[2], f"an image of {values.shape[2]:,} bands")
        raise _coloured(source, bands)
    if values.dtype.kind == "f":
        raise Refused("it holds floats, not class numbers; save whole numbers")
    if values.dtype == np.uint64 and values.max() >= 2**63:
        raise Refused(f"it holds {values.max()}, which is no class number")
    wide = np.int32 if np.can_cast(values.dtype, np.int32) else np.int64
    return upright_array(values.reshape(values.shape[:2]), turned).astype(wide, order="C")


def _stored_values(content: bytes, max_pixels: int, source: Source) -> tuple[np.ndarray, int]:
    """(height, width), or with a third axis for bands; and how they lie, as in EXIF."""
    kind = kind_of(content)
    if kind not in KEEPING:
        raise Refused(f"it is {kind}, whatever its name says, which may have changed the numbers; write it as PNG anew")
    bits = png.bits(content) if kind == "PNG" else 8
    if kind == "TIFF":
        page = tiff.first_page(content)
        if page.compression not in (*tiff.LOSSLESS, *tiff.FAX):
            raise Refused("it is compressed in a way that may have changed the numbers; write it as PNG anew")
        if page.photometric == tiff.WHITE_IS_ZERO:
            raise Refused(WHITE_FIRST)
        bits = page.bits
    stored, turned = decode(content, max_pixels, channels=0)
    if isinstance(stored, Bands):
        return stored.values, turned
    if kind == "PPM" and stored.mode == "1":
        raise Refused(WHITE_FIRST)
    if stored.mode not in ("1", "L", "P"):
        raise _coloured(source, stored.mode)
    values = np.asarray(stored)
    if stored.mode == "L" and bits in (2, 4):
        values = values // (255 // (2**bits - 1))  # Pillow spreads them over 0 … 255
    return values, turned
