"""Where and in which number format to compute."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

import torch
from torch import nn

from gcvit import distributed
from gcvit.engine.settings import Precision
from gcvit.errors import UserError

LITTLE = 400e6  # work: weights × squares of 32 px in a batch, a quarter of a classifier's multiply-adds


def cores() -> int:
    """Those that this process may use, which a batch system may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def resolve_device(name: str) -> torch.device:
    """`auto` (CUDA when there is one), `cpu`, `cuda` or `cuda:N`. Raises UserError for one not here.

    Among several processes `auto` and `cuda` are the GPU with this process's number on its machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and distributed.world_size() > 1:
        name = f"cuda:{distributed.local_rank()}"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"device must be auto, cpu, cuda or cuda:N, not {name!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device must be auto, cpu, cuda or cuda:N, not {name!r}")
    if device.type == "cuda" and name != f"cuda:{distributed.local_rank()}" and distributed.world_size() > 1:
        raise UserError(f"device {name!r}: each of several processes has its own GPU; use auto or cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device {name!r}: this machine has {torch.cuda.device_count()} CUDA devices; use auto")
    return device


def claim_device(name: str) -> torch.device:
    """This process's device, made the current one. Raises UserError for one that is not here."""
    device = resolve_device(name)
    if device.index is not None:
        torch.cuda.set_device(device)
    return device


def device_name(device: torch.device) -> str:
    """What a person calls it: the GPU's own name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def resolve_precision(precision: Precision, device: torch.device) -> Literal["fp32", "bf16"]:
    """`auto` is bf16 on a GPU that computes in it and fp32 elsewhere."""
    if precision != "auto":
        return precision
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """The context of forward passes and losses: weights stay fp32, products are taken in `precision`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=resolve_precision(precision, device) == "bf16")


@contextmanager
def threads_for(model: nn.Module, pixels: int, device: torch.device) -> Iterator[None]:
    """While entered, a model that has little work with a batch of so many pixels has one thread for it: several would
    gain a tenth on a quiet machine, and beside other programs mostly wait for each other (docs/performance.md). On a
    GPU, and where OMP_NUM_THREADS or MKL_NUM_THREADS says how many, nothing changes."""
    told = {"OMP_NUM_THREADS", "MKL_NUM_THREADS"} & os.environ.keys()
    if device.type != "cpu" or told or not 0 < _weights(model) * pixels / 32**2 < LITTLE:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _weights(model: nn.Module) -> int:
    """How many; 0: another runtime's."""
    return sum(weight.numel() for weight in model.parameters())
