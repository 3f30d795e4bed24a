"""The one image loader of the package: any common file in, an upright RGB picture or a clear error out."""

import os
import struct
import zlib
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from gcvit.data.members import Member

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".tif", ".tiff", ".webp", ".gif", ".bmp"}
    | {".ppm", ".pgm", ".pbm", ".avif", ".jp2"}
)
MAX_PIXELS = 89_478_485  # Pillow's own warning level: 256 MiB as RGB

# A list of ours: Pillow's full list holds formats that start other programs (EPS runs Ghostscript).
_FORMATS = ("JPEG", "MPO", "PNG", "TIFF", "WEBP", "GIF", "BMP", "DIB", "PPM", "AVIF", "JPEG2000")

# What Pillow and its decoders raise, or let through, on damaged files.
DECODING_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    RuntimeError,
    EOFError,
    TypeError,
    LookupError,
    ArithmeticError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,  # raised where a user's warning filters say so
)


class ImageError(ValueError):
    """An image that cannot be used; the message, one line, names the file and says what is wrong."""

    def __init__(self, message: str):
        # A DataLoader's worker re-raises with its whole traceback as the message: keep our line of it.
        super().__init__(message.rsplit(f"{ImageError.__qualname__}: ", 1)[-1].strip())


def load_image(
    source: str | os.PathLike[str] | Member,
    *,
    background: tuple[int, int, int] = (255, 255, 255),
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """Read one image, a file or a file in a tar archive, as 8-bit RGB, upright.

    The first frame of a file with several. EXIF orientation is applied; transparent pixels are composited on
    ``background`` (RGB, 0-255); 16-bit grey is scaled by its full range, not cut off; RGB with 16 bits a
    channel keeps the upper 8; CMYK, YCbCr and palettes are converted. Colour profiles are ignored, as in
    torchvision and timm. ``max_pixels`` is checked before the pixels are decoded; Pillow's own limit
    (``PIL.Image.MAX_IMAGE_PIXELS``, an error at twice its value) stays in force above it.

    Raises:
        ImageError: missing, empty, truncated, damaged, too large, not an image, or of a kind without one
            right reading in 8 bits: floats and signed integers have no agreed black and white.
    """
    path = source if isinstance(source, Member) else Path(source)
    try:
        with Image.open(_opened(path), formats=readable_formats()) as image:
            pixels = image.width * image.height
            if pixels > max_pixels:
                raise ImageError(
                    f"cannot read image {path}: {image.width}×{image.height} is {pixels:,} pixels, above the "
                    f"limit of {max_pixels:,}; make it smaller or raise max_pixels"
                )
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return _to_rgb(image, path, background)
    except ImageError:
        raise
    except Image.UnidentifiedImageError:
        raise ImageError(
            f"cannot read image {path}: not an image, or damaged at its start (readable: JPEG, PNG, TIFF, "
            "WebP, GIF, BMP, PPM, AVIF, JPEG 2000)"
        ) from None
    except MemoryError:
        raise ImageError(f"cannot read image {path}: not enough memory") from None
    except DECODING_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"cannot read image {path}: {reason}") from error


def list_images(path: str | os.PathLike[str]) -> list[Path]:
    """The images at ``path``: the file itself, whatever its name, or those :func:`find_images` finds.

    Raises:
        ValueError: nothing there, a folder that cannot be read, or a folder without images.
    """
    path = Path(path)
    if not path.is_dir():
        if not path.exists():
            raise ValueError(f"{path}: no such file or folder")
        return [path]
    found = find_images(path)
    if not found:
        raise ValueError(f"{path}: no images in this folder ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return found


def find_images(folder: str | os.PathLike[str]) -> list[Path]:
    """The files in ``folder`` and below with one of ``IMAGE_SUFFIXES`` in any case, in a fixed order.

    Hidden files and folders (with a leading dot) are left out; linked folders are followed, each real folder
    once, so a loop of links ends.

    Raises:
        ValueError: a folder that cannot be read.
    """
    found: list[Path] = []
    _collect(Path(folder), found, visited=set())
    return found


def check_file(path: Path, what: str = "image") -> None:
    """Say what Pillow would not: missing, a folder, a pipe (reading one would hang), empty.

    Raises ImageError, which calls the file a `what`.
    """
    try:
        if path.is_dir():
            raise ImageError(f"cannot read {what} {path}: it is a folder")
        if not path.exists():
            raise ImageError(f"cannot read {what} {path}: no such file")
        if not path.is_file():
            raise ImageError(f"cannot read {what} {path}: not a regular file")
        if path.stat().st_size == 0:
            raise ImageError(f"cannot read {what} {path}: the file is empty")
    except OSError as error:
        raise ImageError(f"cannot read {what} {path}: {error.strerror}") from error


@cache
def readable_formats() -> tuple[str, ...]:
    """Pillow's names of the formats to open files with."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)  # AVIF is missing from some builds


def _collect(folder: Path, found: list[Path], visited: set[str]) -> None:
    real = os.path.realpath(folder)
    if real in visited:
        return
    visited.add(real)
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise ValueError(f"{folder}: cannot be read: {error.strerror}") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            _collect(folder / entry.name, found, visited)
        elif os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES:
            found.append(folder / entry.name)


def _opened(path: Path | Member) -> Path | BytesIO:
    """What Pillow opens."""
    if isinstance(path, Path):
        check_file(path)
        return path
    if path.size == 0:
        raise ImageError(f"cannot read image {path}: the file is empty")
    return BytesIO(path.read())


def _to_rgb(image: Image.Image, path: Path | Member, background: tuple[int, int, int]) -> Image.Image:
    if image.mode == "F":
        raise ImageError(
            f"cannot read image {path}: it holds floats, which have no agreed black and white; "
            "scale it to 8 or 16 bits first"
        )
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _deep_grey_to_rgb(image, path, background)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (*background, 255))
        return Image.alpha_composite(ground, image).convert("RGB")
    return image.convert("RGB")


def _deep_grey_to_rgb(image: Image.Image, path: Path | Member, background: tuple[int, int, int]) -> Image.Image:
    """Integers of more than 8 bits: 0 is black and the largest value of the file's format is white."""
    tags = getattr(image, "tag_v2", {})  # TIFF: 258 bits per sample, 339 sample format, 262 photometric
    bits = tags.get(258, (16,))[0]
    if tags.get(339, (1,))[0] == 2:
        raise ImageError(
            f"cannot read image {path}: it holds signed integers, which have no agreed black and "
            "white; save it with unsigned 8 or 16 bits first"
        )
    values = np.asarray(image)
    raw = values.view(np.uint32) if values.dtype == np.int32 else values
    grey = np.rint(raw.astype(np.float64) * (255 / (2**bits - 1))).clip(0, 255).astype(np.uint8)
    if tags.get(262) == 0:
        grey = 255 - grey  # "white is zero": Pillow inverts it for 8 bits only
    rgb = np.repeat(grey[..., None], 3, axis=2)
    if "transparency" in image.info:
        rgb[raw == image.info["transparency"]] = background
    return Image.fromarray(rgb)
