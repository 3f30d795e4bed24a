"""What can be measured of pictures one at a time: which numbers they use, and each channel's mean and deviation."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from PIL import Image

from gcvit.data.formats import Bands, blocks
from gcvit.data.pixels import Picture, size_of, words

_SAMPLE = 2**16  # numbers of a picture that quantiles are taken of


class Numbers(NamedTuple):
    """Which numbers a file holds that has more than 8 bits.

    kind: of them, in words. white: the one that is white without a value range, if any. least, greatest: of all. low,
    high: quantiles, one in a thousand is beyond.
    """

    kind: str
    white: int | None
    least: float
    greatest: float
    low: float
    high: float


class Moments(NamedTuple):
    """Of a picture's levels, from 0 to `white`.

    pixels: how many. sums, squares: of all levels and of their squares, by channel; exact for RGB images.
    """

    pixels: int
    white: int
    sums: tuple[float, ...]
    squares: tuple[float, ...]


def numbers_of(stored: Image.Image | Bands) -> Numbers | None:
    """The numbers that a file uses; None for 8 bits, and where there is no finite number."""
    if isinstance(stored, Image.Image) or (stored.white is not None and stored.white <= 255):
        return None
    values = stored.values[..., : stored.colours or stored.count]
    step = max(1, math.isqrt(values.size // _SAMPLE))
    some = values[::step, ::step].ravel().astype(np.float64)
    some = some[np.isfinite(some)]
    if not some.size:
        return None
    low, high = np.quantile(some, (0.001, 0.999))
    least, greatest = math.inf, -math.inf
    for rows in blocks(*values.shape[:2]):
        part = values[rows]
        part = part[np.isfinite(part)] if part.dtype.kind == "f" else part
        if part.size:
            least, greatest = min(least, float(part.min())), max(greatest, float(part.max()))
    return Numbers(words(stored), stored.white, least, greatest, float(low), float(high))


def moments_of(picture: Picture) -> Moments:
    """A picture's share in `mean_std`."""
    width, height = size_of(picture)
    if isinstance(picture, Image.Image):
        counts = np.array(picture.histogram(), np.int64).reshape(3, 256)
        levels = np.arange(256)
        return Moments(width * height, 255, tuple((counts @ levels).tolist()), tuple((counts @ levels**2).tolist()))
    sums, squares = np.zeros(len(picture)), np.zeros(len(picture))
    for rows in blocks(height, width):
        part = picture[:, rows].reshape(len(picture), -1).astype(np.float64)
        sums += part.sum(axis=1)
        squares += (part**2).sum(axis=1)
    return Moments(width * height, 1, tuple(sums.tolist()), tuple(squares.tolist()))


def mean_std(moments: Iterable[Moments]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Each channel's mean and standard deviation over all pixels of some pictures, of levels from 0 to 1.

    Sums are not rounded, so it does not matter in which order the pictures come. A channel that never changes has the
    deviation 1, so that it can be divided by. Of no pictures there are no channels.
    """
    found = list(moments)
    if not found:
        return (), ()
    pixels, white = sum(one.pixels for one in found), found[0].white
    mean = [math.fsum(sums) / pixels / white for sums in zip(*(one.sums for one in found), strict=True)]
    square = [math.fsum(squares) / pixels / white**2 for squares in zip(*(one.squares for one in found), strict=True)]
    variances = [both - one**2 for both, one in zip(square, mean, strict=True)]
    return tuple(mean), tuple(math.sqrt(spread) if spread > 1e-12 else 1.0 for spread in variances)
