"""Grounds, paints and the camera of the built-in scenes: random patterns, light, focus and noise.

As everywhere in the scenes, pixels come from PCG64's doubles by element-wise +, −, ×, ÷ only, and an angle's
sine and cosine are rounded to nine digits, since platforms differ in the last ones.
"""

import math

import numpy as np


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
