"""Pictures for people: small ones for a page, and one with words below it."""

from collections.abc import Sequence
from functools import cache

from PIL import Image, ImageDraw, ImageFont

from gcvit.data.pixels import Picture, as_rgb
from gcvit.wording import harmless

SMALLEST, LARGEST = 640, 1600  # pixels of the long side that a picture is shown at
INK = "#1c2128"


def shown_size(size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) to show a picture at: small ones a whole number of times larger, very large ones smaller."""
    side = max(size)
    if side > LARGEST:
        return fitting(size, LARGEST)
    factor = -(-SMALLEST // side)
    return size[0] * factor, size[1] * factor


def fitting(size: tuple[int, int], side: int) -> tuple[int, int]:
    """(width, height) of the same shape whose larger one is `side`."""
    width, height = (max(1, round(length * side / max(size))) for length in size)
    return width, height


def shortened(name: str, length: int) -> str:
    """A name with harmless characters alone, at most `length` of them."""
    name = harmless(name, keep="")
    return name if len(name) <= length else name[: length - 1] + "…"


def thumbnail(picture: Picture, side: int = 160) -> Image.Image:
    """The picture, RGB, made smaller where it is large, padded to a square."""
    image = as_rgb(picture).copy()
    image.thumbnail((side, side))
    sheet = Image.new("RGB", (max(image.size),) * 2, "white")
    sheet.paste(image, ((sheet.width - image.width) // 2, (sheet.height - image.height) // 2))
    return sheet


def captioned(image: Image.Image, lines: Sequence[str]) -> Image.Image:
    """The image, at a size at which it can be seen, with lines of text below it."""
    shown = image.resize(shown_size(image.size), Image.Resampling.LANCZOS)
    size = max(14, shown.width // 36)
    letters, height = font(size), round(1.6 * size)
    width = max([shown.width, *(int(letters.getlength(line)) + 2 * size for line in lines)])
    sheet = Image.new("RGB", (width, shown.height + height * len(lines) + size), "white")
    sheet.paste(shown, ((width - shown.width) // 2, 0))
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        draw.text((size, shown.height + size // 2 + height * number), line, fill=INK, font=letters)
    return sheet


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """The font that comes with matplotlib, which is loaded when something is drawn."""
    from matplotlib.font_manager import findfont

    return ImageFont.truetype(findfont("DejaVu Sans"), size)
