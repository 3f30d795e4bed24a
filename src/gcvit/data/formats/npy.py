"""Arrays that `numpy.save` wrote; never pickled ones, which would run code."""

import math
import re
import struct

import numpy as np

from gcvit.data.formats import Bands, Refused

MAGIC = b"\x93NUMPY"

# Of plain numbers, as NumPy writes it; its own reader would take anything that Python can evaluate.
_HEADER = re.compile(
    rb"\{'descr': *'([<>|=]?[?biuf]\d?)', *'fortran_order': *(True|False), *"
    rb"'shape': *\((\d{1,12}(?:, *\d{1,12})*),?\),? *\}\s*"
)


def read(content: bytes) -> np.ndarray:
    """A picture's array, (height, width) or with a third axis, as it lies in the file. Nothing is allocated.

    Raises Refused for anything but whole numbers and floats of up to 64 bits, for another number of axes, and where the
    file is not as long as its header says.
    """
    letter, start = ("H", 10) if content[6:7] == b"\1" else ("I", 12)
    (length,) = struct.unpack_from(f"<{letter}", content, 8)
    start, header = start + length, content[start : start + min(length, 1_000)]
    found = _HEADER.fullmatch(header)
    if found is None:
        raise Refused(f"an array of anything but numbers, or damaged: {header[:80].decode('ascii', 'replace')!r}")
    dtype, is_fortran = np.dtype(found[1].decode()), found[2] == b"True"
    shape = tuple(map(int, found[3].split(b",")))
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise Refused(f"an array of shape {shape}; a picture has height and width, and bands if it has several")
    needed, there = math.prod(shape) * dtype.itemsize, len(content) - start
    if needed != there:
        what = "truncated" if needed > there else "followed by something else"
        raise Refused(f"an array of shape {shape} and type {dtype} that is {what}")
    array = np.frombuffer(content, dtype, math.prod(shape), start)
    return array.reshape(shape[::-1]).T if is_fortran else array.reshape(shape)


def bands(array: np.ndarray, channels: int) -> Bands:
    """An array as bands: (height, width), (height, width, bands), or (bands, height, width) where the first axis alone
    is `channels`, 1 or 3."""
    if array.ndim == 2:
        array = array[..., None]
    wanted = {channels, 1, 3} if channels in (1, 3) else {channels}
    if array.shape[2] not in wanted and array.shape[0] in wanted:
        array = np.moveaxis(array, 0, 2)
    if array.dtype == bool:
        return Bands(array.view(np.uint8), 1, array.shape[2] if array.shape[2] in (1, 3) else 0)
    white = 2 ** (8 * array.dtype.itemsize) - 1 if array.dtype.kind == "u" else None
    return Bands(array, white, array.shape[2] if array.shape[2] in (1, 3) else 0)
