"""PNG files: whether their checksums hold, and the kinds of pixels that Pillow reads in part."""

import struct
import zlib
from collections import Counter
from functools import partial
from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import Image, PngImagePlugin

from gcvit.data.formats import Bands, Opened, Refused, blocks, rows_of

MOST_TEXTS = 1_000  # chunks that hold texts or profiles, which may each unpack to a megabyte

_SIGNATURE = 8  # bytes
_AROUND = 12  # bytes of a chunk that are not its content
_DATA = (b"IDAT", b"fdAT")
_COLOURS = {0: 1, 2: 3, 4: 1, 6: 3}  # of the colour types that are no palette
_ALPHA = (4, 6)


class Header(NamedTuple):
    """bits: of each number. kind: the colour type. ended: whether the file has its end mark."""

    bits: int
    kind: int
    ended: bool


def header(content: bytes) -> Header:
    """What a PNG file says of its pixels. Raises Refused for a wrong checksum, and for a chunk that is cut off.

    What stands behind the end mark does not count. A file that ends before it is whole if its picture is.
    """
    at, seen = _SIGNATURE, Counter[bytes]()
    found = b""
    while len(content) - at >= _AROUND and b"IEND" not in seen:
        length, name = struct.unpack_from(">I4s", content, at)
        end = at + _AROUND + length
        if end > len(content):
            raise Refused(f"truncated in its chunk {_shown(name)}, or damaged")
        (checksum,) = struct.unpack_from(">I", content, end - 4)
        if zlib.crc32(memoryview(content)[at + 4 : end - 4]) != checksum:
            raise Refused(f"damaged: the checksum of its chunk {_shown(name)} at byte {at:,} is wrong")
        if name == b"IHDR":
            found = content[at + 8 : end - 4]
        seen[name] += 1
        at = end
    if len(found) < 13 or not any(seen[name] for name in _DATA):
        raise Refused("truncated before its picture begins, or damaged")
    if sum(count for name, count in seen.items() if name not in _DATA) > MOST_TEXTS:
        raise Refused(f"it has more than {MOST_TEXTS:,} chunks beside its picture")
    return Header(found[8], found[9], b"IEND" in seen)


def claimed_size(content: bytes) -> tuple[int, int]:
    """Width and height, as the first chunk says, whether it is damaged or not. Raises Refused where it is missing."""
    if len(content) < _SIGNATURE + _AROUND + 13:
        raise Refused("truncated before its picture begins")
    return struct.unpack_from(">II", content, 16)


def bits(content: bytes) -> int:
    """Bits of each number."""
    return content[24]


def opened(content: bytes) -> Opened:
    """A picture; as bands where its numbers have 16 bits. Raises Refused as `header` does."""
    depth, kind, _ = header(content)
    image = PngImagePlugin.PngImageFile(BytesIO(content))
    return Opened(image, partial(_load, image, content, depth, kind))


def _load(image: PngImagePlugin.PngImageFile, content: bytes, depth: int, kind: int) -> Image.Image | Bands:
    if depth < 16:
        image.load()
        if kind == 0 and depth in (2, 4) and "transparency" in image.info:
            image.info["transparency"] *= 255 // (2**depth - 1)  # as Pillow spreads the pixels
        return image
    transparent = image.info.get("transparency")
    return Bands(
        _deep(image, content, kind),
        white=65_535,
        colours=_COLOURS[kind],
        alpha="straight" if kind in _ALPHA else None,
        transparent=None if transparent is None else np.atleast_1d(transparent),
    )


def _deep(image: PngImagePlugin.PngImageFile, content: bytes, kind: int) -> np.ndarray:
    """All 16 bits. Pillow has no such colours; it gives the upper half of each number, or the lower one if asked."""
    if kind == 0:
        image.load()
        return np.asarray(image)[..., None]
    if kind == 4:
        _unpack(image, "RGBA")
        return np.asarray(image).view(">u2")  # grey and alpha, of two bytes each
    count = _COLOURS[kind] + (kind in _ALPHA)
    values = np.zeros((image.height, image.width, count), np.uint16)
    for layout, factor in (("16B", 256), ("16L", 1)):
        half = PngImagePlugin.PngImageFile(BytesIO(content))
        _unpack(half, f"{half.mode};{layout}")
        for rows in blocks(half.height, half.width):
            values[rows] += np.multiply(rows_of(half, rows), factor, dtype=np.uint16)
    return values


def _unpack(image: PngImagePlugin.PngImageFile, layout: str) -> None:
    image.tile = [tile._replace(args=layout) for tile in image.tile]
    image.load()


def _shown(name: bytes) -> str:
    return name.decode("ascii", "backslashreplace")
