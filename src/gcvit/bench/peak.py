"""Peak memory of a step; and time and memory of a model over the size of its image, for which each model has a process
of its own and takes sizes in rising order: what the process has held at most is then what the last size needed.
"""

import ctypes
import gc
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gcvit.bench.timing import Step, take_turn
from gcvit.engine.device import resolve_device
from gcvit.model import GCViT

STATUS, REFERENCES = Path("/proc/self/status"), Path("/proc/self/clear_refs")  # of Linux


@dataclass(frozen=True)
class Spent:
    """On a batch of one size. milliseconds: the fastest of some. peak_bytes: what the process has held at most beside
    the model, None where the system does not tell."""

    size: int
    milliseconds: float
    peak_bytes: int | None


@dataclass(frozen=True)
class Measuring:
    """device: as `resolve_device` takes it. batch: images. steps: passes of which the fastest counts. threads: of the
    CPU, None for as many as torch chooses."""

    device: str = "cpu"
    batch: int = 1
    steps: int = 3
    threads: int | None = None


def measure(
    build: Callable[..., nn.Module], arguments: Sequence[Any], sizes: Sequence[int], config: Measuring
) -> list[Spent]:
    """For the model that `build(*arguments)` makes, inference on square images; ours folded, as it is used.

    build: a function of a module."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as own:
        return own.submit(_measure, build, tuple(arguments), sorted(sizes), config).result()


@torch.no_grad()
def _measure(
    build: Callable[..., nn.Module], arguments: Sequence[Any], sizes: Sequence[int], config: Measuring
) -> list[Spent]:
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    device = resolve_device(config.device)
    model = build(*arguments)
    model = (model.fold() if isinstance(model, GCViT) else model.eval()).to(device)  # ours as it is used
    found = []
    before = _forget_the_most(device)
    for size in sizes:
        images = torch.randn(config.batch, 3, size, size, device=device)
        steps = take_turn(lambda images=images: model(images), config.steps + 1, device).steps_ms  # type: ignore[misc]
        found.append(Spent(size, min(steps[1:]), _beyond(before, device)))
    return found


def beyond(step: Step, device: torch.device) -> int | None:
    """Bytes that this process holds at most during a step beyond what it holds before it; None where the system does
    not tell."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    gc.collect()
    before = _forget_the_most(device)
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return _beyond(before, device)


def _beyond(before: int | None, device: torch.device) -> int | None:
    """Bytes that are held at most beyond these."""
    most = held(device, at_most=True)
    return None if most is None or before is None else most - before


def _forget_the_most(device: torch.device) -> int | None:
    """Making a model takes more than it holds, and what it has given back would be used again unseen. Returns the bytes
    that are held from here on, None where that cannot be done: glibc alone gives free memory back to the system, and
    not everywhere may a peak be reset."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return held(device)
    with suppress(OSError, AttributeError, TypeError):  # what is raised without glibc, and without Linux
        ctypes.CDLL(None).malloc_trim(0)
        REFERENCES.write_text("5")
        return held(device)
    return None


def held(device: torch.device, *, at_most: bool = False) -> int | None:
    """Bytes of a GPU's memory, or of the main memory, that this process holds now, or has held at most; None where the
    system does not tell. Unlike `getrusage`, without those of the parent."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) if at_most else torch.cuda.memory_allocated(device)
    if not STATUS.is_file():
        return None
    name = "VmHWM:" if at_most else "VmRSS:"
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])
