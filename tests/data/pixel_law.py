"""Pictures of noise, and what is read of them from a file and from an archive alike."""

import random
from itertools import product
from pathlib import Path

import numpy as np

from data.writing import as_member
from gcvit.data.images import load_picture
from gcvit.data.label_maps import read_label_values

NOISE = np.random.default_rng(0)
HEIGHT, WIDTH = 19, 37
ORIENTATIONS = tuple(range(1, 9))


def noise(bits: int, bands: int, dtype: str | None = None) -> np.ndarray:
    return NOISE.integers(0, 2**bits, (HEIGHT, WIDTH, bands)).astype(dtype or ("u1" if bits <= 8 else "u2"))


def pixels(content: bytes, folder: Path) -> np.ndarray:
    """The same from the file itself and from a tar archive."""
    (folder / "image").write_bytes(content)
    found = np.asarray(load_picture(folder / "image"))
    assert (found == np.asarray(load_picture(as_member(content, folder)))).all()
    return found.astype(float)


def labels(content: bytes, folder: Path) -> np.ndarray:
    (folder / "image").write_bytes(content)
    found = read_label_values(folder / "image")
    assert (found == read_label_values(as_member(content, folder))).all()
    return found


def is_right(found: np.ndarray, expected: np.ndarray, tolerance: float = 0.501) -> bool:
    """Rounded, that is; Pillow rounds twice where it lays 8 bits on a background: 1.5 there."""
    return found.shape == expected.shape and bool(np.abs(found - expected).max() <= tolerance)


def sampled(count: int, *axes: tuple) -> list:
    """Some of a grid's cases, the same ones in each run."""
    return random.Random(0).sample(list(product(*axes)), count)
