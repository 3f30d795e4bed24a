"""Portable anymaps whose white is another number than 255: Pillow scales them, one by one."""

import re
from functools import partial
from io import BytesIO

import numpy as np
from PIL import Image, PpmImagePlugin

from gcvit.data.formats import Bands, Opened, Refused

_SPACE = rb"(?:\s|#[^\r\n]*[\r\n])+"
_HEADER = re.compile(rb"P([2356])" + _SPACE + rb"(\d{1,9})" + _SPACE + rb"(\d{1,9})" + _SPACE + rb"(\d{1,5})\s")


def opened(content: bytes) -> Opened:
    """A picture; as bands where its white is not 255."""
    image = PpmImagePlugin.PpmImageFile(BytesIO(content))
    return Opened(image, partial(_load, image, content))


def _load(image: Image.Image, content: bytes) -> Image.Image | Bands:
    found = _HEADER.match(content[:4096])
    most = int(found[4]) if found else 255
    if found and found[1] in b"56" and most != 255:
        return _numbers(content, found)
    image.load()
    if found and most != 255:
        values = np.asarray(image)
        values = values if values.ndim == 3 else values[..., None]
        spread = 65_535 if image.mode == "I" else 255  # Pillow has multiplied
        return Bands(np.rint(values * (most / spread)).astype(np.uint16), most, values.shape[2])
    return Bands(np.asarray(image)[..., None], None, 1) if image.mode == "F" else image


def _numbers(content: bytes, found: re.Match[bytes]) -> Bands:
    width, height, most = int(found[2]), int(found[3]), int(found[4])
    colours = 1 if found[1] == b"5" else 3
    dtype = np.dtype(">u2" if most > 255 else "u1")
    count = width * height * colours
    if not 0 < most < 2**16 or len(content) - found.end() < count * dtype.itemsize:
        raise Refused("truncated" if 0 < most < 2**16 else f"damaged: its white is {most}")
    values = np.frombuffer(content, dtype, count, found.end()).reshape(height, width, colours)
    if values.max() > most:
        raise Refused(f"damaged: {values.max()} where {most} is white")
    return Bands(values, most, colours)
