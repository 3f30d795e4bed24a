"""TIFF files: which of them Pillow reads as they are meant, and all numbers of all bands of the others."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from itertools import product

import numpy as np
from PIL import TiffImagePlugin

from gcvit.data.formats import Alpha, Bands, Opened, Refused, blocks, plain, rows_of
from gcvit.data.formats.tags import Tags

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE = range(4)  # photometric interpretations; Pillow alone knows the others
RAW = 1
MOST_PARTS = 2**16  # strips and tiles that are decompressed one by one
LOSSLESS = (RAW, 5, 8, 32773, 32946, 34925, 50000)  # compressions: LZW, deflate, packbits, deflate, LZMA, zstd
FAX = (2, 3, 4)  # lossless too, of one bit

_PLANES_APART = 2
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3  # sample formats
_UNSPECIFIED, _PREMULTIPLIED, _STRAIGHT = range(3)  # extra samples
_DIFFERENCES, _FLOAT_DIFFERENCES = 2, 3  # predictors
_COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1}
_DEPTHS = {_UNSIGNED: (1, 2, 4, 8, 12, 16, 32, 64), _SIGNED: (8, 16, 32, 64), _FLOAT: (16, 32, 64)}
_KINDS = {_UNSIGNED: "u", _SIGNED: "i", _FLOAT: "f"}

Part = Callable[[slice], np.ndarray]  # some rows of a strip or tile, uint8 (rows, bytes)


@dataclass(frozen=True)
class Page:
    """What the tags of a file's first picture say.

    bits, sample_format: of each number, of all bands alike. samples: bands. extra: what those beyond the colours are.
    across, down: pixels of a strip or tile. offsets, sizes: where each one lies, in bytes.
    """

    tags: Tags
    width: int
    height: int
    samples: int
    bits: int
    sample_format: int
    photometric: int
    compression: int
    planar: int
    predictor: int
    extra: tuple[int, ...]
    across: int
    down: int
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]

    @property
    def is_plain(self) -> bool:
        """Whether Pillow gets it right: at most 8 bits in one plane, of grey, RGB and straight alpha."""
        if self.photometric not in _COLOURS or self.compression not in LOSSLESS:
            return self.bits <= 8 or self.planar != _PLANES_APART  # or else it refuses it
        usual = self.extra in ((_UNSPECIFIED,), (_STRAIGHT,)) and self.photometric in (RGB, PALETTE)
        return (
            self.bits <= 8
            and self.sample_format == _UNSIGNED
            and self.planar != _PLANES_APART
            and (not self.extra or usual)
            and (self.tags.order == "<" or not self.tags.big)
        )

    @property
    def is_readable(self) -> bool:
        """Whether `read` knows its kind."""
        is_float = self.sample_format == _FLOAT
        return (
            self.photometric in _COLOURS
            and self.compression in LOSSLESS
            and self.bits in _DEPTHS.get(self.sample_format, ())
            and self.tags.number(266, 1) == 1  # the order of bits in a byte
            and (self.predictor == 1 or self.predictor == (_FLOAT_DIFFERENCES if is_float else _DIFFERENCES))
            and (self.predictor == 1 or self.bits % 8 == 0)
        )

    @property
    def planes_apart(self) -> bool:
        """Whether each band lies by itself."""
        return self.planar == _PLANES_APART and self.samples > 1

    @property
    def words(self) -> str:
        """For a message."""
        said = f"{self.samples} bands of {self.bits} bits, sample format {self.sample_format}"
        return f"{said}, compression {self.compression}, photometric interpretation {self.photometric}"

    @property
    def parts(self) -> tuple[int, int]:
        """Strips or tiles from top to bottom and from left to right, of a plane."""
        return -(-self.height // self.down), -(-self.width // self.across)


def first_page(content: bytes) -> Page:
    """What a TIFF file says of its first picture. Raises Refused where that cannot be."""
    tags = Tags(content)
    width, height = tags.number(256, 0), tags.number(257, 0)
    samples = tags.number(277, 1)
    if not (0 < width < 2**31 and 0 < height < 2**31 and 0 < samples < 2**16):
        raise Refused(f"damaged: {width}×{height} pixels of {samples} bands")
    tiled = 324 in tags
    across, down = (
        (tags.number(322, 0), tags.number(323, 0)) if tiled else (width, min(height, tags.number(278, height)))
    )
    if across < 1 or down < 1 or across * down > 4 * max(width * height, 2**20):
        raise Refused(f"damaged: its parts have {across}×{down} pixels, of {width}×{height}")
    depths, formats = set(tags.numbers(258)[:samples]) or {1}, set(tags.numbers(339)[:samples]) or {_UNSIGNED}
    if len(depths) > 1 or len(formats) > 1:
        raise Refused("its bands have numbers of different types")
    places = tags.numbers(324 if tiled else 273)
    if not places and 513 not in tags:  # JPEG's old way
        raise Refused("truncated, or damaged: it does not say where its picture is")
    return Page(
        tags,
        width,
        height,
        samples,
        int(depths.pop()),
        int(formats.pop()),
        photometric=tags.number(262, WHITE_IS_ZERO),
        compression=tags.number(259, RAW),
        planar=tags.number(284, 1),
        predictor=tags.number(317, 1),
        extra=tuple(int(one) for one in tags.numbers(338)),
        across=across,
        down=down,
        offsets=tuple(int(one) for one in places),
        sizes=tuple(int(one) for one in tags.numbers(325 if tiled else 279)),
    )


def read(content: bytes, page: Page) -> Bands:
    """All numbers of a picture that `is_readable`. Raises Refused where some are missing."""
    planes = page.samples if page.planes_apart else 1
    down, across = page.parts
    if len(page.offsets) != len(page.sizes) or len(page.offsets) < planes * down * across:
        raise Refused(f"damaged: it has {len(page.offsets):,} of {planes * down * across:,} parts")
    if planes * down * across > MOST_PARTS:
        raise Refused(f"it is cut into {planes * down * across:,} parts, more than {MOST_PARTS:,}")
    values = np.empty((page.height, page.width, page.samples), _dtype(page))
    if _row_bytes(page) * page.down > 4 * max(values.nbytes, 2**22):
        raise Refused(f"damaged: its parts of {page.across}×{page.down} pixels are much larger than the picture")
    for number, (plane, row, column) in enumerate(product(range(planes), range(down), range(across))):
        bands = slice(plane, plane + 1) if page.planes_apart else slice(None)
        top, left = row * page.down, column * page.across
        place = values[top : top + page.down, left : left + page.across, bands]
        # A tile is stored whole, a last strip is not.
        count = page.down if 324 in page.tags else place.shape[0]
        _fill(place, page, _part(content, page, number, count))
    return _meant(values, page)


def opened(content: bytes) -> Opened:
    """A picture as Pillow reads it, which turns it upright on the way."""
    return plain(TiffImagePlugin.TiffImageFile(BytesIO(content)))


def _dtype(page: Page) -> np.dtype:
    return np.dtype(f"{_KINDS[page.sample_format]}{-(-page.bits // 8)}")


def _meant(values: np.ndarray, page: Page) -> Bands:
    """The bands as what they are."""
    white = 2**page.bits - 1 if page.sample_format == _UNSIGNED else None
    if page.photometric == WHITE_IS_ZERO:
        if white is None:
            raise Refused("its white is zero, and its numbers are floats or signed: it is not clear which are black")
        values = np.subtract(white, values, out=values, casting="unsafe")
    colours = _COLOURS[page.photometric]
    extra = page.samples - colours
    if extra < 0:
        raise Refused(f"damaged: {page.samples} bands of colours")
    kind = page.extra[0] if page.extra else _STRAIGHT if colours == 3 else _UNSPECIFIED  # some writers forget to say
    alpha: Alpha | None = None
    if extra == 1 and kind in (_PREMULTIPLIED, _STRAIGHT):
        alpha = "premultiplied" if kind == _PREMULTIPLIED else "straight"
    elif extra > 1 and colours == 1:
        colours = 0  # of several bands, that the first one is grey says little
    return Bands(values, white, colours, alpha)


def _row_bytes(page: Page) -> int:
    return -(-page.across * (1 if page.planes_apart else page.samples) * page.bits // 8)


def _part(content: bytes, page: Page, number: int, rows: int) -> Part:
    """A strip or tile, decompressed where need be."""
    at, size, width = page.offsets[number], page.sizes[number], _row_bytes(page)
    if page.compression == RAW:
        size = min(size, rows * width)
    if size < 1 or at + size > len(content) or (page.compression == RAW and size < rows * width):
        raise Refused(f"truncated, or damaged: its part {number:,} is not all there")
    if page.compression == RAW:
        array = np.frombuffer(content, np.uint8, rows * width, at).reshape(rows, width)
        return lambda block: array[block]
    image = opened(_grey_file(content[at : at + size], page.compression, rows, width)).image
    try:
        image.load()
    except OSError:
        raise Refused(
            f"its part {number:,} is damaged, or compressed in a way ({page.compression}) that this installation of "
            "Pillow does not know"
        ) from None
    return lambda block: rows_of(image, block)


def _grey_file(part: bytes, compression: int, rows: int, width: int) -> bytes:
    """A TIFF file of one strip, whose pixels are the part's bytes: Pillow decompresses that whatever they mean."""
    tags = [(256, width), (257, rows), (258, 8), (259, compression), (262, BLACK_IS_ZERO)]
    tags += [(273, 0), (277, 1), (278, rows), (279, len(part))]
    start = 8 + 2 + 12 * len(tags) + 4
    table = b"".join(struct.pack("<HHII", tag, 4, 1, start if tag == 273 else value) for tag, value in tags)
    return struct.pack("<4sIH", b"II*\0", 8, len(tags)) + table + b"\0\0\0\0" + part


def _fill(place: np.ndarray, page: Page, part: Part) -> None:
    """Write the numbers of a part to their place, (rows, columns, bands)."""
    height, width, bands = place.shape
    for block in blocks(height, page.across * bands):
        numbers = _numbers(part(block), page, page.across * bands)
        place[block] = numbers.reshape(-1, page.across, bands)[:, :width]


def _numbers(rows: np.ndarray, page: Page, count: int) -> np.ndarray:
    """(rows, bytes) → (rows, count), in this machine's order of bytes, differences summed up."""
    bits, dtype = page.bits, _dtype(page)
    step = 1 if page.planes_apart else page.samples
    if page.predictor == _FLOAT_DIFFERENCES and page.compression != RAW:
        planes = _sums(rows, step).reshape(len(rows), dtype.itemsize, count)  # of bytes, the highest first
        return np.ascontiguousarray(planes.swapaxes(1, 2)).view(dtype.newbyteorder(">"))[..., 0]
    if bits % 8:  # the highest one first
        single = np.unpackbits(rows, axis=1, count=count * bits).reshape(len(rows), count, bits)
        return single @ (1 << np.arange(bits, dtype=np.uint16))[::-1]
    numbers = np.ascontiguousarray(rows).view(dtype.newbyteorder(page.tags.order)).astype(dtype, copy=False)
    return _sums(numbers, step) if page.predictor == _DIFFERENCES and page.compression != RAW else numbers


def _sums(differences: np.ndarray, step: int) -> np.ndarray:
    """Of each row from left to right, each band for itself, in its own type: they wrap around."""
    bands = differences.reshape(len(differences), -1, step)
    return np.cumsum(bands, axis=1, dtype=bands.dtype).reshape(differences.shape)
