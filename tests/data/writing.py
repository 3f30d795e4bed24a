"""Image files as other programs write them, and what they mean, worked out without the code under test."""

import io
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
import png
import tifffile

from gcvit.data.members import Member
from gcvit.data.tars import contents_of


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file with its checksum."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_bytes(values: np.ndarray, bits: int, *, alpha: bool = False, **options: object) -> bytes:
    """(height, width, 1 to 4) as pypng writes it. options: interlace, transparent, palette, background, gamma …"""
    height, width, planes = values.shape
    options.setdefault("greyscale", planes <= 2)
    if "palette" in options:
        del options["greyscale"]
    out = io.BytesIO()
    png.Writer(width, height, bitdepth=bits, alpha=alpha, **options).write(out, values.reshape(height, -1).tolist())
    return out.getvalue()


def tiff_bytes(values: np.ndarray, **options: object) -> bytes:
    """(height, width, bands) as tifffile writes it; planarconfig "separate" takes care of the axes."""
    bands = values.shape[2]
    if bands == 1:
        options.pop("planarconfig", None)
        values = values[..., 0]
    elif options.setdefault("planarconfig", "contig") == "separate":
        values = np.moveaxis(values, 2, 0)
    if (orientation := options.pop("orientation", 1)) != 1:
        options["extratags"] = [(274, 3, 1, orientation, True)]
    out = io.BytesIO()
    tifffile.imwrite(out, values, metadata=None, **options)
    return out.getvalue()


def tiff_by_hand(tags: dict[int, int], strip: bytes) -> bytes:
    """A TIFF file of one strip with these tags, whatever they say."""
    tags = {**tags, 273: 8, 278: tags[257], 279: len(strip)}
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return struct.pack("<4sI", b"II*\0", 8 + len(strip)) + strip + struct.pack("<H", len(tags)) + table + bytes(4)


def bmp_bytes(
    pixels: bytes, width: int, height: int, bits: int, *, palette: bytes = b"", masks: tuple[int, ...] = ()
) -> bytes:
    """A bitmap with Windows' header of version 3, or 5 where there are masks. pixels: its rows, the lowest first."""
    size = 124 if masks else 40
    start = 14 + size + len(palette)
    header = struct.pack(
        "<IiiHHIIiiII", size, width, height, 1, bits, 3 if masks else 0, len(pixels), 0, 0, len(palette) // 4, 0
    )
    header += struct.pack("<4I", *masks).ljust(84, b"\0") if masks else b""
    return struct.pack("<2sIHHI", b"BM", start + len(pixels), 0, 0, start) + header + palette + pixels


def packed(rows: np.ndarray, bits: int, align: int = 4) -> bytes:
    """Rows of small numbers, several in a byte, each row filled up to `align` bytes."""
    flat = (rows[..., None] >> np.arange(bits - 1, -1, -1) & 1).reshape(len(rows), -1).astype(np.uint8)
    lines = np.packbits(flat, axis=1)
    return np.pad(lines, ((0, 0), (0, -lines.shape[1] % align))).tobytes()


def as_member(content: bytes, folder: Path, name: str = "image") -> Member:
    """The file in a tar archive."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    with tarfile.open(folder / "images.tar", "w") as tar:
        tar.addfile(info, io.BytesIO(content))
    with tarfile.open(folder / "images.tar") as tar:
        return Member(folder / "images.tar", name, tar.getmember(name).offset_data, len(content))


def as_rgb(
    values: np.ndarray, bits: int, alpha: str = "", transparent: object = None, white_is_zero: bool = False
) -> np.ndarray:
    """What (height, width, 1 to 4) numbers look like on white, 0 to 255, not rounded."""
    most = 2.0**bits - 1
    numbers = most - values if white_is_zero else values.astype(float)
    colour = numbers[..., : numbers.shape[2] - bool(alpha)]
    opaque = numbers[..., -1:] / most if alpha else np.ones((*values.shape[:2], 1))
    if transparent is not None:
        opaque = (values != np.atleast_1d(transparent)).any(axis=2, keepdims=True).astype(float)
    share = colour / most if alpha == "premultiplied" else colour / most * opaque
    return np.broadcast_to(255 * (share + 1 - opaque), (*values.shape[:2], 3)).clip(0, 255)


def turned(stored: np.ndarray, orientation: int) -> np.ndarray:
    """(height, width, …) as it is to be seen, from the words of the EXIF standard: where row 0 and column 0 are."""
    transposed = np.swapaxes(stored, 0, 1)
    return {
        1: stored,  # top, left
        2: stored[:, ::-1],  # top, right
        3: stored[::-1, ::-1],  # bottom, right
        4: stored[::-1],  # bottom, left
        5: transposed,  # left, top
        6: transposed[:, ::-1],  # right, top
        7: transposed[::-1, ::-1],  # right, bottom
        8: transposed[::-1],  # left, bottom
    }[orientation]


def images_in(archive: Path) -> tuple[list[Member], str]:
    """The archive's images in their order of bytes, and why its index could not be used."""
    contents, trouble = contents_of(archive)
    return list(contents.images), trouble
