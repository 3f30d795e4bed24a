"""JPEG 2000 files: how many bits their numbers have, which Pillow shifts; of deep colours it makes white black."""

import struct
from functools import partial
from io import BytesIO
from math import ceil
from typing import NamedTuple

import numpy as np
from PIL import Image, Jpeg2KImagePlugin

from gcvit.data.formats import Bands, Opened, Refused

MOST_TILES = 2**14  # each takes kilobytes before anything is decoded

_START = b"\xff\x4f\xff\x51"  # of the code stream, and its first header


class Header(NamedTuple):
    """bits: of each component. signed: whether one has negative numbers. size: width and height."""

    bits: list[int]
    signed: bool
    size: tuple[int, int]


def header(content: bytes) -> Header:
    """What the code stream says. Raises Refused where it is missing, and for too many tiles and components."""
    at = content.find(_START)
    if at < 0:
        raise Refused("truncated before its picture begins")
    width, height, left, top, across, down, x, y, components = struct.unpack_from(">8IH", content, at + 8)
    if across < 1 or down < 1 or x > left or y > top:
        raise Refused("damaged: its tiles have no size")
    tiles = ceil((width - x) / across) * ceil((height - y) / down)
    if tiles > MOST_TILES:
        raise Refused(f"it is cut into {tiles:,} tiles, more than {MOST_TILES:,}")
    if not 1 <= components <= 4:
        raise Refused(f"it has {components:,} bands; of JPEG 2000, 1 to 4 are read")
    depths = [content[at + 42 + 3 * number] for number in range(components)]
    return Header([(depth & 0x7F) + 1 for depth in depths], max(depths) > 0x7F, (width - left, height - top))


def opened(content: bytes) -> Opened:
    """A picture of 8 bits, or grey of 10 to 16, as bands. Raises Refused as `header` does, and for other depths."""
    bits, signed, size = header(content)
    image = Jpeg2KImagePlugin.Jpeg2KImageFile(BytesIO(content))
    if image.size != size:
        raise Refused(f"damaged: it claims {image.size} and {size} pixels")
    if not image.mode.startswith("I") and (set(bits) != {8} or signed):
        kind = "signed numbers" if signed else f"numbers of {', '.join(map(str, bits))} bits"
        raise Refused(f"it holds {kind}, which are not read from JPEG 2000; save it as PNG or TIFF")
    return Opened(image, partial(_load, image, bits[0], signed))


def _load(image: Image.Image, bits: int, signed: bool) -> Image.Image | Bands:
    image.load()
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image)[..., None] >> 16 - bits
    if signed:
        return Bands(values.astype(np.int32) - 2 ** (bits - 1), None, 1)
    return Bands(values, 2**bits - 1, 1)
