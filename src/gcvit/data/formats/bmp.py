"""BMP files: palettes that Pillow takes for grey and unpacks wrongly, and transparency that is none."""

import struct
from functools import partial
from io import BytesIO

from PIL import BmpImagePlugin, Image, ImageFile

from gcvit.data.formats import Opened

_CORE = 12  # bytes of the header that has no more than sizes
_LAYOUTS = {"1": 1, "L": 8}  # bits of a pixel as Pillow unpacks palettes of black and white, and of greys


def opened(content: bytes) -> Opened:
    """A picture, or a bitmap without the file's header.

    Where alpha is 0 everywhere nobody meant it: many programs leave that byte empty.
    """
    plugin = BmpImagePlugin.BmpImageFile if content[:2] == b"BM" else BmpImagePlugin.DibImageFile
    image = plugin(BytesIO(content))
    return Opened(image, partial(_load, image, content))


def _load(image: ImageFile.ImageFile, content: bytes) -> Image.Image:
    bits = _bits(content)
    decoder, _, start, layout = image.tile[0]
    if decoder == "raw" and isinstance(layout, tuple) and _LAYOUTS.get(image.mode, bits) != bits:
        _, stride, direction = layout
        return _indexed(image, bits, content[start:], stride, direction)
    image.load()
    if image.mode == "RGBA" and image.getchannel("A").getbbox() is None:
        return image.convert("RGB")
    return image


def _bits(content: bytes) -> int:
    at = 14 if content[:2] == b"BM" else 0
    (size,) = struct.unpack_from("<I", content, at)
    return struct.unpack_from("<H", content, at + (10 if size == _CORE else 14))[0]


def _indexed(image: Image.Image, bits: int, pixels: bytes, stride: int, direction: int) -> Image.Image:
    """Indices of a palette of greys 0, 1, 2 …, or of black and white."""
    found = Image.frombytes("P", image.size, pixels, "raw", "P" if bits == 8 else f"P;{bits}", stride, direction)
    greys = range(256) if image.mode == "L" else (0, 255)
    found.putpalette([grey for grey in greys for _ in range(3)])
    return found
