"""Image files, from bytes to numbers: each kind is looked over before anything of it is decoded."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, ImageFile

_PIXELS = 2**15  # of a block

Alpha = Literal["straight", "premultiplied"]


class Refused(Exception):
    """Why a file cannot be read, without its name, which the caller adds.

    channels: with which it can be read, where their number is all that stands against it.
    """

    def __init__(self, reason: str, channels: int | None = None) -> None:
        super().__init__(reason)
        self.channels = channels


@dataclass(frozen=True)
class Bands:
    """The numbers in a file, where 8 bits of grey or RGB do not hold them.

    values: (height, width, bands), of any integer or float type. white: the value that is white where 0 is black; None
    where nothing says so, as for floats and signed integers. colours: how many bands, the first ones, are colours: 1
    for grey, 3 for RGB, 0 where nothing says what they are. alpha: what the band after the colours is; None: there is
    none. transparent: the colour that is, (colours,), if any.
    """

    values: np.ndarray
    white: int | None
    colours: int
    alpha: Alpha | None = None
    transparent: np.ndarray | None = None

    @property
    def count(self) -> int:
        """How many bands there are."""
        return self.values.shape[2]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, as of Pillow's images."""
        return self.values.shape[1], self.values.shape[0]


class Opened(NamedTuple):
    """A file whose picture is not decoded yet. image: Pillow's, for its size. load: decodes."""

    image: ImageFile.ImageFile
    load: Callable[[], Image.Image | Bands]


def plain(image: ImageFile.ImageFile) -> Opened:
    """A file that Pillow reads as it is meant."""

    def load() -> Image.Image:
        image.load()
        return image

    return Opened(image, load)


def blocks(height: int, width: int) -> Iterator[slice]:
    """The rows of a picture, some at a time: what is computed with at once hardly counts in the memory."""
    rows = max(1, _PIXELS // max(1, width))
    return (slice(top, min(top + rows, height)) for top in range(0, height, rows))


def rows_of(image: Image.Image, rows: slice) -> np.ndarray:
    """Some rows of an image as an array; of the whole, Pillow would make two copies."""
    return np.asarray(image.crop((0, rows.start, image.width, rows.stop)))
