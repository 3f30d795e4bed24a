"""Lengths of single steps, and what they cost in energy."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from time import perf_counter

import torch

Step = Callable[[], object]
Energy = Callable[[], float]


@dataclass(frozen=True)
class Turn:
    """Some steps without a pause.

    steps_ms: length of each in milliseconds, from one's end to the next one's. joules: of the whole turn; None where
    nothing measures it.
    """

    steps_ms: tuple[float, ...]
    joules: float | None = None

    @property
    def mean_ms(self) -> float:
        """Of a step."""
        return sum(self.steps_ms) / len(self.steps_ms)


@contextmanager
def threads_of(number: int | None) -> Iterator[None]:
    """While it lasts, torch computes with so many threads of the CPU, None for as many as it has."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def take_turn(step: Step, count: int, device: torch.device, energy: Energy | None = None) -> Turn:
    """`count` steps: on the CPU by its clock; on a GPU by events between them, so that it never waits for the CPU
    unless the CPU is the slower one."""
    before = energy() if energy else 0.0
    lengths = _on_gpu(step, count, device) if device.type == "cuda" else _on_cpu(step, count)
    return Turn(lengths, energy() - before if energy else None)


def _on_cpu(step: Step, count: int) -> tuple[float, ...]:
    moments = [perf_counter()]
    for _ in range(count):
        step()
        moments.append(perf_counter())
    return tuple((end - start) * 1e3 for start, end in pairwise(moments))


def _on_gpu(step: Step, count: int, device: torch.device) -> tuple[float, ...]:
    with torch.cuda.device(device):
        events = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
        torch.cuda.synchronize()
        events[0].record()
        for event in events[1:]:
            step()
            event.record()
        torch.cuda.synchronize()
    return tuple(start.elapsed_time(end) for start, end in pairwise(events))


def energy_meter(device: torch.device) -> Energy | None:
    """Reads the joules that a GPU has used since its driver was loaded, whoever used them; None for the CPU, without
    the package pynvml, and for a card that does not tell."""
    if device.type != "cuda":
        return None
    try:
        nvml = import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except nvml.NVMLError:
        return None
    return lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3
