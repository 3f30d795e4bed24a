"""How much of a figure may be chance: the interval of a share, and whether a few runs differ from a value."""

from collections.abc import Sequence
from math import atan2, cos, pi, sin, sqrt
from statistics import mean, stdev

Z95 = 1.959963984540054  # the normal distribution's 97.5% quantile
ROUNDING = 1e-12  # of shares, of bits and of their differences: less is none


def wilson(hits: int, images: int) -> tuple[float, float]:
    """The Wilson interval of a share, 95%, (low, high) in 0 … 1.

    Unlike share ± deviation it stays within 0 … 1 and is honest for few images and for shares near 0 and 1.
    Raises ValueError without images.
    """
    if images < 1 or not 0 <= hits <= images:
        raise ValueError(f"{hits} of {images} images is not a share")
    share, spread = hits / images, Z95 * Z95 / images
    middle = (share + spread / 2) / (1 + spread)
    half = Z95 * sqrt(share * (1 - share) / images + spread / (4 * images)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def t_test(values: Sequence[float], expected: float = 0.0) -> float | None:
    """The two-sided p value of Student's t test that the mean is `expected`, 0 … 1; None for fewer than two values. Of
    values that are all alike it is 1 where they are what was expected, otherwise None: without a deviation there is
    nothing by which to say how far away that is.

    The distribution function is Abramowitz and Stegun's 26.7.3 and 26.7.4, a finite sum for whole degrees of freedom;
    below 1e-15 it is rounding.
    """
    if len(values) < 2:
        return None
    away, spread, freedom = abs(mean(values) - expected), stdev(values) / sqrt(len(values)), len(values) - 1
    if spread < ROUNDING:
        return 1.0 if away < ROUNDING else None
    angle = atan2(away / spread, sqrt(freedom))
    odd = freedom % 2
    term = cos(angle) if odd else 1.0
    total = 0.0
    for k in range(2 + odd, freedom + 1, 2):
        total += term
        term *= cos(angle) ** 2 * (k - 1) / k
    within = 2 / pi * (angle + sin(angle) * total) if odd else sin(angle) * total
    return min(max(1 - within, 0.0), 1.0)
