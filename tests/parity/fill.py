"""Weights and images that are functions of their names and sizes: parity needs no real checkpoint.

The numbers in nvlabs/golden.json are what the published model computes from them in float32.
"""

import zlib

import numpy as np
import torch


def tensor(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """One float32 parameter, a function of its published name and its shape alone."""
    draw = np.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF)
    values = draw.standard_normal(shape).astype(np.float32)
    if "relative_position_bias_table" in name:
        values *= 0.5
    elif "gamma" in name:
        values = 1 + 0.1 * values
    elif len(shape) > 1:
        values *= 1.0 / np.sqrt(int(np.prod(shape[1:])))
    elif name.endswith("bias"):
        values *= 0.1
    else:
        values = 1 + 0.1 * values
    return torch.from_numpy(values)


def weights(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """A state dict under the published names; index buffers, which are derived, are left out."""
    return {
        name: tensor(name, tuple(shape))
        for name, shape in shapes.items()
        if not name.endswith("relative_position_index")
    }


def images(count: int, size: int) -> torch.Tensor:
    """(count, 3, size, size), standard normal."""
    return torch.from_numpy(np.random.RandomState(2024).standard_normal((count, 3, size, size)).astype(np.float32))
