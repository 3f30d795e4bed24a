"""Parsing with tyro: a command's arguments are a dataclass."""

from collections.abc import Sequence
from typing import TypeVar

import torch
import tyro

Arguments = TypeVar("Arguments")


def parse(
    kind: type[Arguments],
    command: str,
    argv: Sequence[str],
    *,
    default: Arguments | None = None,
    description: str | None = None,
) -> Arguments:
    """`argv` as a `kind`; `--help` and unknown or malformed flags end the process (exit code 0 and 2)."""
    return tyro.cli(
        kind,
        prog=f"gcvit {command}",
        args=list(argv),
        default=tyro.MISSING_NONPROP if default is None else default,
        description=description,
    )


def device(name: str) -> torch.device:
    """`auto` (the first GPU if there is one), `cpu`, `cuda`, `cuda:1`, `mps`. Raises `ValueError` if absent."""
    if name == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        chosen = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"--device {name}: no such device; use auto, cpu, cuda or cuda:0") from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"--device {name}: {torch.cuda.device_count()} CUDA devices are here; use auto or cpu")
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f"--device {name}: there is no such accelerator here; use auto or cpu")
    return chosen
