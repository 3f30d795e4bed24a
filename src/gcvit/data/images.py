"""The one image loader of the package: any common file in, an upright picture or a clear error out."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from gcvit.data.formats import Bands, npy
from gcvit.data.formats.decoding import BYTES_A_PIXEL, DECODING_ERRORS, Head, decode, head
from gcvit.data.members import FileInMemory, Member
from gcvit.data.pixels import RGB, Picture, picture_of, upright
from gcvit.data.remarks import Remarks, is_seen
from gcvit.data.settings import PIXEL_LIMIT, RGB8, PixelFormat
from gcvit.errors import UserError
from gcvit.wording import harmless

Result = TypeVar("Result")

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".tif", ".tiff", ".webp", ".gif", ".bmp"}
    | {".ppm", ".pgm", ".pbm", ".avif", ".jp2", ".heic", ".heif", ".npy"}
)
MAX_PIXELS = 89_478_485  # Pillow's own warning level: 256 MiB as RGB

Source = str | os.PathLike[str] | Member | FileInMemory


class ImageError(UserError):
    """An image that cannot be used; the message, one line, names the file and says what is wrong."""

    def __init__(self, message: str):
        # A DataLoader's worker re-raises with its whole traceback as the message: keep our line of it.
        super().__init__(harmless(message.rsplit(f"{ImageError.__qualname__}: ", 1)[-1].strip(), keep=""))


def load_picture(
    source: Source,
    pixels: PixelFormat = RGB8,
    *,
    background: RGB = (255, 255, 255),
    max_pixels: int | None = None,
) -> Picture:
    """Read one image, a file or a file in a tar archive, upright, with the pixels that a model takes.

    Of three channels a PIL image, RGB of 8 bits; of any other number float32 (channels, height, width), black 0 …
    white 1. The first frame of a file with several. EXIF orientation is applied; transparent pixels are composited on
    ``background`` (RGB, 0-255); numbers of more than 8 bits are scaled by their full range, not cut off; CMYK, YCbCr
    and palettes are converted. Colour profiles are ignored, as in torchvision and timm. ``max_pixels`` is checked
    before the pixels are decoded; None: :func:`pixel_limit`.

    Raises:
        ImageError: missing, empty, truncated, damaged, too large, not an image, with other bands than ``pixels`` asks
            for, or, where it gives no range, floats and signed integers, which have no agreed black and white.
    """
    most = pixel_limit() if max_pixels is None else max_pixels

    def read(content: bytes) -> Picture:
        stored, orientation = decode(content, most, pixels.channels)
        picture = picture_of(stored, pixels, background)
        del content, stored  # as large as the picture, which may be turned now
        return upright(picture, orientation)

    return read_safely(source, most, read)


def head_of(source: Source) -> Head:
    """The size of an image, and how EXIF turns it. Raises ImageError as :func:`load_picture`."""
    most = pixel_limit()
    return read_safely(source, most, lambda content: head(content, most))


def read_safely(source: Source, max_pixels: int, read: Callable[[bytes], Result], what: str = "image") -> Result:
    """What ``read`` makes of a file's bytes.

    Raises:
        ImageError: for a file that cannot be read, and for whatever ``read`` and decoders raise; it names the file and
            calls it a ``what``.
    """
    path = source if isinstance(source, Member | FileInMemory) else Path(source)
    try:
        return read(_content(path, max_pixels, what))
    except ImageError:
        raise
    except MemoryError:
        raise ImageError(f"cannot read {what} {path}: not enough memory") from None
    except DECODING_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"cannot read {what} {path}: {reason}") from error


def pixel_limit() -> int:
    """How many pixels an image may have: MAX_PIXELS, or what GCVIT_MAX_PIXELS says in the environment.

    Raises UserError where that is no number above 0.
    """
    said = os.environ.get(PIXEL_LIMIT)
    if said is None:
        return MAX_PIXELS
    if not (said.isascii() and said.isdigit() and int(said[:20]) > 0):
        raise UserError(f"{PIXEL_LIMIT} in the environment must be a number of pixels, not {said!r:.80}")
    return int(said[:20])


def picture_in_memory(given: Image.Image | np.ndarray | Tensor, pixels: PixelFormat = RGB8) -> Picture:
    """A picture that is in memory already, as :func:`load_picture` reads its file.

    given: a PIL image; an array (height, width[, channels]) of bytes, or of any numbers where ``pixels`` says what is
    black and white or asks for other channels than three; or a tensor (channels, height, width) of the same, or of
    floats from 0, black, to 1, white.

    Raises:
        UserError: for anything else, saying what it is.
        ImageError: for a PIL image whose file is damaged, and for other bands or numbers than ``pixels`` asks for.
    """
    if not isinstance(given, Image.Image | np.ndarray | Tensor):
        raise UserError(f"a picture is a file's path, a PIL image, an array or a tensor, not {type(given).__name__}")
    if isinstance(given, Tensor):
        given = _numbers(given, pixels)
    try:
        if isinstance(given, np.ndarray):
            return picture_of(_stored(given, pixels), pixels)
        if not min(given.size):
            raise UserError("a picture of {}×{} pixels has none".format(*given.size))
        given = ImageOps.exif_transpose(given)
        deep = given.mode in ("I", "F") or given.mode.startswith("I;16")
        return picture_of(npy.bands(np.asarray(given), 1) if deep else given, pixels)
    except UserError:
        raise
    except DECODING_ERRORS as error:  # of a file that is decoded only now
        raise ImageError(f"cannot read image in memory: {' '.join(str(error).split())}") from error


def _numbers(given: Tensor, pixels: PixelFormat) -> np.ndarray:
    """A tensor as an array (height, width, channels), floats in the numbers that `pixels` expects."""
    if given.ndim != 3 or (pixels == RGB8 and given.shape[0] not in (1, 3, 4)):
        raise UserError(f"a picture's tensor must be (channels, height, width), not {tuple(given.shape)}")
    array = given.permute(1, 2, 0).cpu()
    if not given.is_floating_point():
        return array.numpy()
    if not bool(((array >= 0) & (array <= 1)).all()):
        raise UserError("a picture's tensor of floats must hold values from 0 to 1, before any normalisation")
    if pixels == RGB8:
        return (array * 255).round().to(torch.uint8).numpy()
    if pixels.value_range is None:
        return (array.double() * 65_535).round().numpy().astype(np.uint16)
    black, white = pixels.value_range
    return array.double().numpy() * (white - black) + black


def _stored(array: np.ndarray, pixels: PixelFormat) -> Image.Image | Bands:
    """An array as if it had been read from a file."""
    if array.ndim not in (2, 3) or array.dtype.kind not in "buif":
        raise UserError(f"a picture's array must be (height, width[, channels]), not {array.dtype} of {array.shape}")
    if not array.size:
        raise UserError(f"a picture's array has no pixels: {array.shape}")
    if pixels != RGB8:
        return npy.bands(array, pixels.channels)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.dtype != np.uint8 or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise UserError(
            f"a picture's array must be uint8 (height, width[, 3 or 4 channels]), not {array.dtype} of {array.shape}"
        )
    return Image.fromarray(array)


def list_images(path: str | os.PathLike[str]) -> list[Path]:
    """The images at ``path``: the file itself, whatever its name, or those :func:`find_images` finds.

    Raises:
        ValueError: nothing there, a folder that cannot be read, or a folder without images.
    """
    path = Path(path)
    if not path.is_dir():
        if not path.exists():
            raise UserError(f"{path}: no such file or folder")
        return [path]
    found = find_images(path)
    if not found:
        raise UserError(f"{path}: no images in this folder ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return found


def find_images(folder: str | os.PathLike[str], remarks: Remarks | None = None) -> list[Path]:
    """The files in ``folder`` and below with one of ``IMAGE_SUFFIXES`` in any case, in a fixed order.

    Hidden files and folders (with a leading dot, or a system's) are left out; linked folders are followed, each real
    folder once, so a loop of links ends. Files with other suffixes are counted in ``remarks``.

    Raises:
        ValueError: a folder that cannot be read.
    """
    return list(walk(Path(folder), Remarks() if remarks is None else remarks))


def walk(folder: Path, remarks: Remarks, visited: set[str] | None = None) -> Iterator[Path]:
    """As :func:`find_images`, one after the other. visited: real folders that were walked through already."""
    visited = set() if visited is None else visited
    if (real := os.path.realpath(folder)) in visited:
        return
    visited.add(real)
    for entry in entries_in(folder):
        if entry.is_dir():
            yield from walk(folder / entry.name, remarks, visited)
        elif is_image_name(entry.name):
            yield folder / entry.name
        else:
            remarks.pass_over(folder / entry.name)


def entries_in(folder: Path) -> list[os.DirEntry[str]]:
    """What is directly in a folder and a person's, by name. Raises UserError where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if is_seen(entry.name)), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror}") from error


def is_image_name(name: str) -> bool:
    """Whether a file of this name counts as an image."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _content(path: Path | Member | FileInMemory, max_pixels: int, what: str) -> bytes:
    """The bytes of a file that is not larger than a picture of so many pixels can be."""
    try:
        if isinstance(path, Path) and not path.is_file():  # perhaps a pipe: reading one would hang
            kind = "it is a folder" if path.is_dir() else "not a regular file" if path.exists() else "no such file"
            raise ImageError(f"cannot read {what} {path}: {kind}")
    except OSError as error:
        raise ImageError(f"cannot read {what} {path}: {error.strerror}") from error
    size = path.stat().st_size if isinstance(path, Path) else path.size
    if size == 0:
        raise ImageError(f"cannot read {what} {path}: the file is empty")
    if size > max(BYTES_A_PIXEL * max_pixels, 2**20):
        raise ImageError(
            f"cannot read {what} {path}: {size:,} bytes are more than a picture of {max_pixels:,} pixels needs; raise "
            f"the limit (--max-pixels, or {PIXEL_LIMIT} in the environment)"
        )
    return path.read_bytes() if isinstance(path, Path) else path.read()
