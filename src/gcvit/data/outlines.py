"""The outlines of the built-in shapes.

Each takes coordinates (x right, y down, any one shape) and gives the signed distance to the edge, negative
inside, exact near the edge. All fit the unit disc and stand upright; only element-wise +, −, ×, ÷, min, max
and square root are used, so results are the same on every platform.
"""

from collections.abc import Callable

import numpy as np
from numpy import abs, maximum, minimum, ndarray, sqrt

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
    return abs(sqrt(x * x + y * y) - 0.7) - 0.19


def square(x: ndarray, y: ndarray) -> ndarray:
    return maximum(abs(x), abs(y)) - 0.7


def triangle(x: ndarray, y: ndarray) -> ndarray:
    return maximum(y - 0.5, 0.866025404 * abs(x) - 0.5 * y - 0.5)


def star(x: ndarray, y: ndarray) -> ndarray:
    """Inside the pentagram is who violates at most one of its five lines."""
    sides = np.stack([a * x + b * y for a, b in _FIVE])
    return np.sort(sides, axis=0)[3] - 0.309016994


def cross(x: ndarray, y: ndarray) -> ndarray:
    x, y = abs(x), abs(y)
    return minimum(maximum(x - 0.93, y - 0.31), maximum(x - 0.31, y - 0.93))


def crescent(x: ndarray, y: ndarray) -> ndarray:
    cut = x - 0.45
    return maximum(sqrt(x * x + y * y) - 0.95, 0.75 - sqrt(cut * cut + y * y))


def heart(x: ndarray, y: ndarray) -> ndarray:
    """A square on its corner and a disc on each of its upper sides."""
    x = abs(x)
    side, rise = x - 0.35, y + 0.35
    return minimum((x + abs(y) - 0.7) * 0.707106781, sqrt(side * side + rise * rise) - 0.494974747)


def arrow(x: ndarray, y: ndarray) -> ndarray:
    x = abs(x)
    head = maximum(y + 0.05, 0.768221280 * x - 0.640184400 * (y + 0.95))
    shaft = maximum(x - 0.25, maximum(y - 0.93, -0.1 - y))
    return minimum(head, shaft)


def hourglass(x: ndarray, y: ndarray) -> ndarray:
    y = abs(y)
    return maximum(y - 0.8, (abs(x) - 0.7 * y - 0.06) * 0.819231921)


OUTLINES: dict[str, Callable[[ndarray, ndarray], ndarray]] = {
    outline.__name__: outline
    for outline in (disc, ring, square, triangle, star, cross, crescent, heart, arrow, hourglass)
}
