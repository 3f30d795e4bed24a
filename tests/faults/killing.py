"""How a run is killed, and whether two runs ended alike."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file


def same_bits(one: Path, other: Path, last_step: int) -> bool:
    """Whether two runs ended with the same weights, statistics of batch norms, averages and results."""
    files = ["last/model.safetensors", "best/model.safetensors"]
    files += [f"checkpoints/step-{last_step:09}/{name}.safetensors" for name in ("model", "ema")]
    for file in files:
        ours, theirs = load_file(one / file), load_file(other / file)
        if ours.keys() != theirs.keys() or not all(torch.equal(ours[name], theirs[name]) for name in ours):
            return False
    return True


def interrupt(monkeypatch: pytest.MonkeyPatch, task: type, losses: int, number: int | None = None) -> None:
    """Let the nth loss of the process fail as a kill does, without a chance to save; or raise a signal there."""
    original, count = task.loss, iter(range(1, 1000))  # type: ignore[attr-defined]

    def loss(self: Any, model: torch.nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        if next(count) == losses:
            if number is None:
                raise KeyboardInterrupt
            signal.raise_signal(number)
        return original(self, model, batch)

    monkeypatch.setattr(task, "loss", loss)
