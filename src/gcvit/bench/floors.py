"""The two rates that bound every model on a machine: of arithmetic and of memory."""

from collections.abc import Callable
from typing import NamedTuple

import torch

from gcvit.bench.timing import take_turn

REPEATS = 8


class Rates(NamedTuple):
    """macs_per_second: of a large matrix product. bytes_per_second: of a large copy, read and written counted."""

    macs_per_second: float
    bytes_per_second: float


def measure_rates(device: torch.device, dtype: torch.dtype, *, scale: int = 1) -> Rates:
    """The best of some repeats, on random numbers, with the threads that torch has.

    scale: divides the sides of the matrices and the length of the copy, for a first look; only large ones
        leave the caches.
    """
    on_gpu = device.type == "cuda"
    side = (8192 if on_gpu else 2048) // scale
    length = (2**30 if on_gpu else 2**26) // scale
    a, b = torch.randn(2, side, side, device=device).to(dtype)
    product = torch.empty_like(a)
    macs = side**3 / _seconds(lambda: torch.mm(a, b, out=product), device)
    source = torch.randn(length, device=device)
    target = torch.empty_like(source)
    moved = 2 * source.nbytes / _seconds(lambda: target.copy_(source), device)
    return Rates(macs, moved)


def _seconds(step: Callable[[], object], device: torch.device) -> float:
    take_turn(step, 2, device)
    return min(take_turn(step, REPEATS, device).steps_ms) / 1e3
