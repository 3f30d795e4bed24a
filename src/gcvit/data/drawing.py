"""The built-in scenes: shapes on textured grounds, drawn from a seed, with exact boxes and masks.

A scene is a function of its seed and size on every platform and with every release of NumPy or Pillow: the
random numbers are PCG64's doubles, and pixels come from element-wise +, −, ×, ÷, min, max and square root only, which
IEEE 754 rounds exactly; an angle's sine and cosine are rounded to nine digits, since platforms differ in the last ones.
Neither colour nor texture, place, size or rotation says anything about the class.
Objects are lighter than their ground: with lighter and darker ones mixed, no single pixel's value speaks for any
class, and a network needs several times as many images before it begins to learn.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy import maximum, minimum, ndarray, sqrt

from gcvit.errors import UserError

SPLITS = ("train", "val", "test")

MIN_VISIBLE = 0.8  # share of an object that later ones must leave visible, so that what it is can be seen
TILT = math.pi / 6  # largest rotation of an object, either way
DARK = 0.55  # largest value of a ground's channels, 0 to 1
LIGHTER = 0.3  # least lead of an object over the ground in mean value
CONTRAST = 0.55  # least distance between an object's colour and the ground's, in the RGB cube of side 1


@dataclass(frozen=True, eq=False)
class Object:
    """One object of a scene.

    Attributes:
        label: index into ``CLASSES``.
        box: (x0, y0, x1, y1) in pixels, tight around the mask; x1, y1 are the far edges of its last pixels.
        mask: bool (height, width), the pixels where this object is what one sees.
    """

    label: int
    box: tuple[float, float, float, float]
    mask: np.ndarray


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture, uint8 (height, width, 3), and what is on it in drawing order: later covers earlier."""

    image: np.ndarray
    objects: tuple[Object, ...]


def draw_scene(
    seed: int,
    size: int | tuple[int, int] = 64,
    objects: int = 1,
    label: int | None = None,
    small_as: int | None = None,
) -> Scene:
    """Draw the scene of ``seed``.

    Args:
        seed: any integer ≥ 0.
        size: of the picture, a side or (height, width), at least 16 pixels each.
        objects: how many to place. One is 0.48 to 0.76 of the short side across; several are smaller. Each
            lies wholly inside, and leaves ``MIN_VISIBLE`` of every earlier one to see: where no such place is
            found in 20 draws, the object is left out, so a crowded scene may hold fewer.
        label: class of every object; None draws one for each.
        small_as: make them as small as they are among so many; None: as among ``objects``.
    """
    height, width = sides(size)
    if objects < 1:
        raise UserError(f"a scene needs at least one object, got objects={objects}")
    if label is not None and not 0 <= label < len(CLASSES):
        raise UserError(f"label must be in 0…{len(CLASSES) - 1} (see CLASSES), got {label}")
    rng = np.random.Generator(np.random.PCG64(seed))

    ground = DARK * rng.random(3)
    image = ground + texture(rng, height, width)[..., None] * tint(rng, 0.2)
    taken: list[np.ndarray] = []
    labels: list[int] = []
    masks: list[np.ndarray] = []
    areas: list[int] = []
    for _ in range(objects):
        kind = int(rng.random() * len(CLASSES)) if label is None else label
        for _ in range(20):
            where, coverage = _place(rng, kind, height, width, small_as or objects)
            mask = np.zeros((height, width), dtype=bool)
            mask[where] = coverage >= 0.5
            if all((old & ~mask).sum() >= MIN_VISIBLE * area for old, area in zip(masks, areas, strict=True)):
                break
        else:
            continue
        colour = _colour(rng, ground, taken)
        patch = image[where]
        paint = colour + texture(rng, *patch.shape[:2])[..., None] * tint(rng, 0.12)
        patch += coverage[..., None] * (paint - patch)
        masks = [old & ~mask for old in masks] + [mask]
        taken.append(colour)
        labels.append(kind)
        areas.append(int(mask.sum()))
    found = (Object(kind, _box(mask), mask) for kind, mask in zip(labels, masks, strict=True))
    return Scene(photograph(rng, image), tuple(found))


def scene_seed(split: str, index: int, seed: int = 0) -> int:
    """The seed of one scene of a split of the data set ``seed``: no two of them share any."""
    if split not in SPLITS:
        raise UserError(f"no split {split!r}; the built-in data has {', '.join(SPLITS)}")
    return (seed << 40) + index * len(SPLITS) + SPLITS.index(split)


def sides(size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width of a scene. Raises UserError below 16 pixels."""
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 16:
        raise UserError(f"a scene needs at least 16 pixels a side, got size={size}")
    return height, width


def _place(
    rng: np.random.Generator, kind: int, height: int, width: int, objects: int
) -> tuple[tuple[slice, slice], np.ndarray]:
    """Size, place and rotation of an object: the part of the picture it may touch and its coverage there."""
    radius = max(min(height, width) * between(rng, 0.24, 0.38) / objects**0.4, 6.0)
    x, y = between(rng, radius, width - radius), between(rng, radius, height - radius)
    angle = between(rng, -TILT, TILT)
    cos, sin = round(math.cos(angle), 9), round(math.sin(angle), 9)
    top, left = max(0, int(y - radius) - 1), max(0, int(x - radius) - 1)
    bottom, right = min(height, int(y + radius) + 2), min(width, int(x + radius) + 2)
    down = (np.arange(top, bottom)[:, None] + (0.5 - y)) / radius
    across = (np.arange(left, right)[None, :] + (0.5 - x)) / radius
    distance = OUTLINES[CLASSES[kind]](across * cos + down * sin, down * cos - across * sin) * radius
    return (slice(top, bottom), slice(left, right)), np.clip(0.5 - distance, 0.0, 1.0)


def _colour(rng: np.random.Generator, ground: np.ndarray, taken: list[np.ndarray]) -> np.ndarray:
    """A lighter colour than the ground's, well apart from it, and from other objects' as far as there is room."""
    apart = CONTRAST
    while True:
        colour = rng.random(3)
        if colour.sum() < ground.sum() + 3 * LIGHTER:
            continue
        if _distance(colour, ground) >= CONTRAST and all(_distance(colour, other) >= apart for other in taken):
            return colour
        apart *= 0.97


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return math.sqrt(sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True)))


def _box(mask: np.ndarray) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


# Grounds, paints and the camera: random patterns, light, focus and noise.


def between(rng: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * rng.random()


def tint(rng: np.random.Generator, strength: float) -> np.ndarray:
    """How far a texture goes from its base colour, per channel."""
    direction = rng.random(3) - 0.5
    length = max(math.sqrt(sum(float(part) ** 2 for part in direction)), 1e-3)
    return direction * (between(rng, 0.3, 1.0) * strength / length)


def texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A pattern in -1…1, (height, width): soft patches, stripes or checks, some of each at times."""
    kind = rng.random()
    soft = _patches(rng, height, width)
    if kind < 0.4:
        return soft
    share = between(rng, 0.4, 0.9)
    stripes = _stripes(rng, height, width)
    if kind > 0.75:
        stripes = stripes * _stripes(rng, height, width)
    return (1 - share) * soft + share * stripes


def _patches(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Random values on a coarse grid, smoothly filled in between."""
    cells = 2 + int(rng.random() * 5)
    grid = 2 * rng.random((cells + 1, cells + 1)) - 1
    for length in (height, width):  # rows, then, transposed, columns
        at = (np.arange(length) + 0.5) * (cells / length)
        low = np.minimum(at.astype(np.int64), cells - 1)
        share = at - low
        share = (share * share * (3 - 2 * share))[:, None]
        grid = (grid[low] * (1 - share) + grid[low + 1] * share).T
    return grid


def _stripes(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A triangle wave of 4 to 16 pixels, its edges sharpened at random, in any direction."""
    angle, period = between(rng, 0, 2 * math.pi), between(rng, 4, 16)
    cos, sin = round(math.cos(angle), 9) / period, round(math.sin(angle), 9) / period
    phase = np.arange(height)[:, None] * sin + np.arange(width)[None, :] * cos + rng.random()
    wave = 4 * np.abs(phase - np.floor(phase) - 0.5) - 1
    return np.clip(wave * between(rng, 1, 4), -1.0, 1.0)


def photograph(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Uneven light, at times a soft focus, noise; float (height, width, 3) in, uint8 out."""
    height, width, _ = image.shape
    down = (np.arange(height) / height - 0.5)[:, None, None] * between(rng, -0.4, 0.4)
    across = (np.arange(width) / width - 0.5)[None, :, None] * between(rng, -0.4, 0.4)
    image = image * ((1 + down + across) * between(rng, 0.75, 1.1))
    if rng.random() < 0.3:
        for axis in (0, 1):
            pad = [(1, 1) if at == axis else (0, 0) for at in range(3)]
            wide = np.moveaxis(np.pad(image, pad, mode="edge"), axis, 0)
            image = np.moveaxis(0.25 * wide[:-2] + 0.5 * wide[1:-1] + 0.25 * wide[2:], 0, axis)
    noise = (rng.random(image.shape) - 0.5) * between(rng, 0.0, 0.15)
    return np.rint(np.clip(image + noise, 0.0, 1.0) * 255).astype(np.uint8)


# The outlines of the shapes. Each takes coordinates (x right, y down, any one shape) and gives the signed distance to
# the edge, negative inside, exact near the edge. All fit the unit disc and stand upright.

# Directions of the five lines of a pentagram, spelt out since platforms differ in the last digit of sin.
_FIVE = (
    (0.0, 1.0),
    (0.951056516, 0.309016994),
    (0.587785252, -0.809016994),
    (-0.587785252, -0.809016994),
    (-0.951056516, 0.309016994),
)


def disc(x: ndarray, y: ndarray) -> ndarray:
    return sqrt(x * x + y * y) - 0.85


def ring(x: ndarray, y: ndarray) -> ndarray:
    return np.abs(sqrt(x * x + y * y) - 0.7) - 0.19


def square(x: ndarray, y: ndarray) -> ndarray:
    return maximum(np.abs(x), np.abs(y)) - 0.7


def triangle(x: ndarray, y: ndarray) -> ndarray:
    return maximum(y - 0.5, 0.866025404 * np.abs(x) - 0.5 * y - 0.5)


def star(x: ndarray, y: ndarray) -> ndarray:
    """Inside the pentagram is who violates at most one of its five lines."""
    sides = np.stack([a * x + b * y for a, b in _FIVE])
    return np.sort(sides, axis=0)[3] - 0.309016994


def cross(x: ndarray, y: ndarray) -> ndarray:
    x, y = np.abs(x), np.abs(y)
    return minimum(maximum(x - 0.93, y - 0.31), maximum(x - 0.31, y - 0.93))


def crescent(x: ndarray, y: ndarray) -> ndarray:
    cut = x - 0.45
    return maximum(sqrt(x * x + y * y) - 0.95, 0.75 - sqrt(cut * cut + y * y))


def heart(x: ndarray, y: ndarray) -> ndarray:
    """A square on its corner and a disc on each of its upper sides."""
    x = np.abs(x)
    side, rise = x - 0.35, y + 0.35
    return minimum((x + np.abs(y) - 0.7) * 0.707106781, sqrt(side * side + rise * rise) - 0.494974747)


def arrow(x: ndarray, y: ndarray) -> ndarray:
    x = np.abs(x)
    head = maximum(y + 0.05, 0.768221280 * x - 0.640184400 * (y + 0.95))
    shaft = maximum(x - 0.25, maximum(y - 0.93, -0.1 - y))
    return minimum(head, shaft)


def hourglass(x: ndarray, y: ndarray) -> ndarray:
    y = np.abs(y)
    return maximum(y - 0.8, (np.abs(x) - 0.7 * y - 0.06) * 0.819231921)


OUTLINES: dict[str, Callable[[ndarray, ndarray], ndarray]] = {
    outline.__name__: outline
    for outline in (disc, ring, square, triangle, star, cross, crescent, heart, arrow, hourglass)
}

CLASSES: tuple[str, ...] = tuple(OUTLINES)
