"""How far a share measured on a sample may be from the truth."""

from math import sqrt

Z95 = 1.959963984540054  # the normal distribution's 97.5% quantile


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
