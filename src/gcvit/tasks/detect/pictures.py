"""Pictures with boxes, masks and names of objects in them, to be looked at."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gcvit.data.masks import decode
from gcvit.data.pixels import RGB
from gcvit.tasks.pictures import fitting, font, shown_size
from gcvit.wording import harmless, percent

OPACITY = 0.4  # of a mask's colour
DARK = 140  # luma above which letters on a colour are black


@dataclass(frozen=True)
class DetectedObject:
    """One object. score: None for one that is really there. box: left, top, right and lower edge in the picture's
    pixels. mask: COCO's counts (see `gcvit.data.masks`), None for none."""

    label: str
    score: float | None
    box: tuple[float, float, float, float]
    mask: bytes | None = field(repr=False)
    colour: RGB = field(repr=False)


def mark(image: Image.Image, objects: Sequence[DetectedObject], side: int | None = None) -> Image.Image:
    """The picture with the objects on it, the first ones on top, with their names and scores; small pictures are
    enlarged so that lines and letters can be seen. side: of the result's longer side in pixels; None: as it suits."""
    size = shown_size(image.size) if side is None else fitting(image.size, side)
    colours, covered = np.zeros((image.height, image.width, 3)), np.zeros((image.height, image.width), bool)
    for one in reversed(objects):
        if one.mask is not None:
            mask = decode((one.mask,), (image.height, image.width))[0].astype(bool)
            colours[mask], covered = one.colour, covered | mask
    pixels = np.asarray(image, np.float64)
    blended = np.where(covered[..., None], (1 - OPACITY) * pixels + OPACITY * colours, pixels)
    sheet = Image.fromarray(blended.round().astype(np.uint8)).resize(size, Image.Resampling.LANCZOS)
    draw, letters = ImageDraw.Draw(sheet), font(max(12, max(size) // 55))
    line = max(2, max(size) // 320)
    across, down = size[0] / image.width, size[1] / image.height
    for one in reversed(objects):
        left, top, right, below = (edge * scale for edge, scale in zip(one.box, (across, down) * 2, strict=True))
        draw.rectangle((left, top, max(right - 1, left), max(below - 1, top)), outline=one.colour, width=line)
        text = harmless(one.label, keep="") + ("" if one.score is None else f" {percent(one.score)}")
        if text:
            _write(draw, text, (left, top), one.colour, letters, size)
    return sheet


def _write(
    draw: ImageDraw.ImageDraw,
    text: str,
    corner: tuple[float, float],
    colour: RGB,
    letters: ImageFont.FreeTypeFont,
    size: tuple[int, int],
) -> None:
    """A name on its colour, above the box's corner where there is room, within the picture."""
    width, height = letters.getlength(text) + 6, round(1.35 * letters.size)
    left = min(max(corner[0], 0), max(size[0] - width, 0))
    top = corner[1] - height if corner[1] >= height else corner[1]
    draw.rectangle((left, top, left + width, top + height), fill=colour)
    luma = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    draw.text((left + 3, top + height / 2), text, fill="black" if luma > DARK else "white", font=letters, anchor="lm")
