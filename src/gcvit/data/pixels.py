"""From numbers in a file to what a model sees of a pixel: how many channels, and which numbers are black and white."""

from dataclasses import replace

import numpy as np
from PIL import Image

from gcvit.data.formats import Bands, Refused, blocks
from gcvit.data.settings import PixelFormat

RGB = tuple[int, int, int]
Picture = Image.Image | np.ndarray  # RGB of 8 bits, or float32 (channels, height, width), black 0 … white 1

SMALLEST = 32  # pixels a side: below it GC ViT's fourth map has no cell
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in grey: ITU-R BT.601, as in Pillow

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def picture_of(stored: Image.Image | Bands, pixels: PixelFormat, background: RGB = (255, 255, 255)) -> Picture:
    """A picture as a model of these pixels sees it; what is transparent is laid on `background`.

    Three channels: RGB. One: grey; of colours their luma. Any other number: the bands of a file that has as many.
    Raises Refused for other bands, and for numbers without black and white.
    """
    if pixels.channels == 3 and pixels.value_range is None and isinstance(stored, Image.Image):
        return _rgb(stored, background)
    width, height = stored.size
    ground = np.array(background, np.float64) / 255
    if pixels.channels == 3:
        result = Image.new("RGB", stored.size)
        for rows in blocks(height, width):
            part = np.rint(255 * _levels(_part(stored, rows), pixels, ground)).astype(np.uint8)
            result.paste(Image.fromarray(part), (0, rows.start))
        return result
    array = np.empty((pixels.channels, height, width), np.float32)
    for rows in blocks(height, width):
        array[:, rows] = np.moveaxis(_levels(_part(stored, rows), pixels, ground), 2, 0)
    return array


def upright(picture: Picture, orientation: int) -> Picture:
    """A picture turned as its orientation, 1 to 8, says."""
    if isinstance(picture, Image.Image):
        return picture.transpose(_TURNS[orientation]) if orientation in _TURNS else picture
    return np.ascontiguousarray(upright_array(picture, orientation))


def upright_array(array: np.ndarray, orientation: int) -> np.ndarray:
    """The same of an array whose last two axes are height and width, as a view."""
    exchanged, across, down = turning(orientation)
    if exchanged:
        array = array.swapaxes(-2, -1)
    return array[..., :: -1 if down else 1, :: -1 if across else 1]


def turning(orientation: int) -> tuple[bool, bool, bool]:
    """What puts a stored picture upright, in this order: whether its axes are exchanged, x is turned round, and y."""
    return orientation in (5, 6, 7, 8), orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)


def size_of(picture: Picture) -> tuple[int, int]:
    """Width and height in pixels."""
    return picture.size if isinstance(picture, Image.Image) else picture.shape[:0:-1]


def as_rgb(picture: Picture) -> Image.Image:
    """A picture for people, RGB: of many channels the first three, of two the first as grey."""
    if isinstance(picture, Image.Image):
        return picture
    chosen = picture[:3] if len(picture) > 2 else picture[[0, 0, 0]]
    return Image.fromarray(np.ascontiguousarray(np.moveaxis(np.rint(255 * chosen).astype(np.uint8), 0, 2)))


def words(bands: Bands) -> str:
    """floats; signed integers; 16-bit integers."""
    kind = bands.values.dtype.kind
    if bands.white is None:
        return "floats" if kind == "f" else "signed integers"
    return f"{bands.white.bit_length()}-bit integers"


def _rgb(image: Image.Image, background: RGB) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    result = Image.new("RGB", image.size)
    ground = (*background, 255)
    for rows in blocks(image.height, image.width):
        part = image.crop((0, rows.start, image.width, rows.stop)).convert("RGBA")
        part = Image.alpha_composite(Image.new("RGBA", part.size, ground), part)
        result.paste(part.convert("RGB"), (0, rows.start))
    return result


def _part(stored: Image.Image | Bands, rows: slice) -> Bands:
    """Some rows, as bands: of grey one; of colours, whatever they are made of, red, green and blue; and alpha."""
    if isinstance(stored, Bands):
        return replace(stored, values=stored.values[rows])
    image, transparent = stored.crop((0, rows.start, stored.width, rows.stop)), stored.has_transparency_data
    mode = ("L" if image.mode in ("1", "L", "LA") else "RGB") + ("A" if transparent else "")
    values = np.asarray(image if image.mode == mode else image.convert(mode))
    values = values if values.ndim == 3 else values[..., None]
    return Bands(values, 255, len(mode) - transparent, "straight" if transparent else None)


def _levels(bands: Bands, pixels: PixelFormat, background: np.ndarray) -> np.ndarray:
    """(height, width, channels) float64, from 0, black, to 1, white."""
    channels, colours, numbers = pixels.channels, bands.colours, bands.values
    if channels not in (1, 3) or not colours:
        if bands.count != channels:
            raise Refused(
                f"it has {bands.count} {'band' if bands.count == 1 else 'bands'}, and the model takes pictures of "
                f"{channels} channels; for others a model is trained with --in-chans",
                bands.count,
            )
        return _between(numbers, bands, pixels)
    colour, opaque = numbers[..., :colours], _opacity(bands)
    if bands.alpha == "premultiplied" and opaque is not None:
        colour = np.divide(colour, opaque, out=np.zeros(colour.shape), where=opaque > 0)
    found = _between(colour, bands, pixels)
    if colours == 1 and (channels == 3 or opaque is not None):
        found = np.broadcast_to(found, (*numbers.shape[:2], 3))
    if opaque is not None:
        found = found * opaque + background * (1 - opaque)
    return found @ np.array(LUMA)[:, None] if found.shape[2] > channels else found


def _between(numbers: np.ndarray, bands: Bands, pixels: PixelFormat) -> np.ndarray:
    """Where they lie between black, 0, and white, 1."""
    if pixels.value_range is None and bands.white is None:
        raise Refused(
            f"it holds {words(bands)}, which have no agreed black and white; give both numbers (--value-range BLACK "
            "WHITE; the doctor measures them), or save it with 8 or 16 bits"
        )
    black, white = pixels.value_range or (0, bands.white or 1)
    return np.clip((_finite(numbers) - black) / (white - black), 0, 1)


def _finite(numbers: np.ndarray) -> np.ndarray:
    """As float64. Raises Refused for NaN and infinite ones."""
    wide = numbers.astype(np.float64)
    if numbers.dtype.kind == "f" and not np.isfinite(wide).all():
        raise Refused("it holds values that are not finite, such as NaN; replace them by numbers")
    return wide


def _opacity(bands: Bands) -> np.ndarray | None:
    """Of each pixel, (height, width, 1), from 0 to 1; None where all are opaque."""
    if bands.alpha:
        return np.clip(_finite(bands.values[..., bands.colours : bands.colours + 1]) / (bands.white or 1), 0, 1)
    if bands.transparent is not None:
        different = bands.values[..., : bands.colours] != bands.transparent
        return different.any(axis=2, keepdims=True).astype(np.float64)
    return None
