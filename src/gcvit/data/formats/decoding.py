"""From the bytes of an image file to its picture as it is stored: what the bytes are decides, not the file's name."""

import struct
import zlib
from importlib import import_module
from io import BytesIO
from typing import NamedTuple

from PIL import GifImagePlugin, Image, WebPImagePlugin

from gcvit.data.formats import Bands, Opened, Refused, bmp, jpeg, jpeg2000, npy, plain, png, pnm, tiff
from gcvit.data.formats.tags import HEADERS, XMP, block_of_tags, check_blocks, orientation

BYTES_A_PIXEL = 12  # that a file may have, and its numbers
HEIC_IS_READ = "where pillow-heif is installed (pip install pillow-heif)"
READABLE = f"JPEG, PNG, TIFF, WebP, GIF, BMP, PPM, AVIF, JPEG 2000, NumPy's .npy, and HEIC {HEIC_IS_READ}"

# Formats that start other programs (EPS runs Ghostscript) are not among them.
_STARTS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"\xff\x4f\xff\x51": "JPEG2000",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n": "JPEG2000",
    npy.MAGIC: "NPY",
    **dict.fromkeys(HEADERS, "TIFF"),
}
_AVIF = {b"avif", b"avis"}
_HEIF = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_RAW_EXIF = "Raw profile type exif"  # ImageMagick's, a text in PNG files
_BITMAP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # bytes

# What Pillow and its decoders raise, or let through, on damaged files.
DECODING_ERRORS = (
    Refused,
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


class Decoded(NamedTuple):
    """A picture as it is stored. orientation: 1 (upright) to 8, as in EXIF."""

    picture: Image.Image | Bands
    orientation: int


class Head(NamedTuple):
    """What a file says of its picture. stored: (height, width) of its rows as they lie. orientation: as in EXIF."""

    stored: tuple[int, int]
    orientation: int

    @property
    def upright(self) -> tuple[int, int]:
        """(height, width) of the picture turned upright."""
        return self.stored[::-1] if self.orientation >= 5 else self.stored


def kind_of(content: bytes) -> str:
    """What an image file is, by its first bytes. Raises Refused for anything that is not read."""
    for start, kind in _STARTS.items():
        if content.startswith(start):
            return kind
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    if content[4:8] == b"ftyp":
        length = min(int.from_bytes(content[:4], "big"), 256)
        brands = {content[at : at + 4] for at in range(8, length, 4)}
        if brands & _AVIF:
            return "AVIF"
        if brands & _HEIF:
            return "HEIF"
    if content[:1] == b"P" and content[1:2] in b"123456f" and content[2:3].isspace():
        return "PPM"
    if int.from_bytes(content[:4], "little") in _BITMAP_HEADERS:
        return "DIB"
    raise Refused(f"not an image, or damaged at its start (readable: {READABLE})")


def decode(content: bytes, most_pixels: int, channels: int = 3) -> Decoded:
    """The picture in an image file, the first one of several.

    most_pixels: looked at before anything is decoded. channels: of the model, which tell how an array is meant and
    whether all bands of a file are needed; 0: the numbers are no colours, but labels.
    Raises Refused, or one of DECODING_ERRORS, for what cannot be read.
    """
    kind = kind_of(content)
    if kind == "NPY":
        bands = npy.bands(npy.read(content), channels)
        check_pixels(bands.size, most_pixels, bands.count, bands.values.itemsize)
        return Decoded(bands, 1)
    if kind == "TIFF":
        page = tiff.first_page(content)
        check_pixels((page.width, page.height), most_pixels, page.samples, page.bits // 8)
        as_meant = page.photometric == tiff.PALETTE or (page.is_plain and channels in (1, 3))  # by Pillow
        if page.is_readable and (channels == 0 or not as_meant):
            return Decoded(tiff.read(content, page), orientation(page.tags, page.tags.content(XMP)))
        if not page.is_plain:
            raise Refused(f"a kind of TIFF that is not read ({page.words}); save it as a plain TIFF or as PNG")
    if kind == "PNG":
        check_pixels(png.claimed_size(content), most_pixels)  # before all its checksums
    _raise_pillows_limit(most_pixels)
    image, load = _opened(kind, content)
    check_pixels(image.size, most_pixels)
    picture = load()
    return Decoded(picture, 1 if kind == "TIFF" else _orientation(image))


def head(content: bytes, most_pixels: int) -> Head:
    """The size of the picture in an image file, and how it lies; raises as `decode` does."""
    kind = kind_of(content)
    if kind == "NPY":
        width, height = npy.bands(npy.read(content), 3).size
        return Head((height, width), 1)
    if kind == "TIFF":
        page = tiff.first_page(content)
        return Head((page.height, page.width), orientation(page.tags, page.tags.content(XMP)))
    image, load = _opened(kind, content)
    if kind == "PNG":  # whose tags may stand behind the picture
        check_pixels(image.size, most_pixels)
        load()
    return Head(image.size[::-1], _orientation(image))


def check_pixels(size: tuple[int, int], most: int, bands: int = 1, item: int = 1) -> None:
    """Raise Refused, saying what to do, for more pixels than that; and for more than BYTES_A_PIXEL for each.

    item: bytes of a number in the file. More bands than RGB and alpha become floats of 4 bytes.
    """
    width, height = size
    needed = width * height * bands * max(item, 4 if bands > 4 else 1)
    if width * height > most:
        raise Refused(
            f"{width}×{height} is {width * height:,} pixels, above the limit of {most:,}; make it smaller, or raise "
            "the limit (--max-pixels, or GCVIT_MAX_PIXELS in the environment)"
        )
    if needed > BYTES_A_PIXEL * most:
        raise Refused(
            f"{width}×{height} pixels of {bands:,} bands take {needed:,} bytes, more than {BYTES_A_PIXEL} for each of "
            f"{most:,} pixels; make it smaller, or raise it (--max-pixels, or GCVIT_MAX_PIXELS in the environment)"
        )


def _raise_pillows_limit(most_pixels: int) -> None:
    """Pillow's own limit holds in the whole process; whoever sets a higher one here wants it to hold there, too."""
    if Image.MAX_IMAGE_PIXELS is not None and most_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = most_pixels


def lacks_end(content: bytes) -> bool:
    """Whether a readable JPEG or PNG file, whose picture is whole, has lost the mark at its end."""
    kind = kind_of(content)
    return (kind == "JPEG" and not jpeg.parts(content).ended) or (kind == "PNG" and not png.header(content).ended)


def _opened(kind: str, content: bytes) -> Opened:
    match kind:
        case "JPEG":
            return jpeg.opened(content)
        case "PNG":
            return png.opened(content)
        case "TIFF":
            return tiff.opened(content)
        case "BMP" | "DIB":
            return bmp.opened(content)
        case "PPM":
            return pnm.opened(content)
        case "JPEG2000":
            return jpeg2000.opened(content)
        case "GIF":
            return plain(GifImagePlugin.GifImageFile(BytesIO(content)))
        case "WEBP":
            return plain(WebPImagePlugin.WebPImageFile(BytesIO(content)))
        case "AVIF":
            return _with_boxes("AVIF is read by Pillow 11.3 and later", "PIL.AvifImagePlugin", "AvifImageFile", content)
        case _:
            return _with_boxes(f"HEIC is read {HEIC_IS_READ}", "pillow_heif", "HeifImageFile", content)


def _with_boxes(when: str, module: str, plugin: str, content: bytes) -> Opened:
    """AVIF and HEIF. Opening them reads their tags, wherever these are."""
    check_blocks(content)
    try:
        return plain(getattr(import_module(module), plugin)(BytesIO(content)))
    except ImportError:
        raise Refused(when) from None


def _orientation(image: Image.Image) -> int:
    exif, xmp = image.info.get("exif") or b"", image.info.get("xmp") or b""
    if not exif and _RAW_EXIF in image.info:
        exif = bytes.fromhex("".join(image.info[_RAW_EXIF].split("\n")[3:]))
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    return orientation(block_of_tags(exif) if exif else None, xmp)
