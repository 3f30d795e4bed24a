"""How a run is killed, and whether two runs ended alike."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gcvit.tasks.train import TrainingObjective


def same_weights(one: Path, other: Path, file: str = "model.safetensors") -> bool:
    """Whether the files of that name in two folders have the same tensors, bit by bit."""
    ours, theirs = load_file(one / file), load_file(other / file)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def same_bits(one: Path, other: Path) -> bool:
    """Whether two runs ended with the same weights, statistics of batch norms, averages and results."""
    last = max(path.name for path in (one / "checkpoints").iterdir())
    files = [f"{name}/model.safetensors" for name in ("last", "best", f"checkpoints/{last}")]
    return all(same_weights(one, other, file) for file in [*files, f"checkpoints/{last}/ema.safetensors"])


def interrupt(monkeypatch: pytest.MonkeyPatch, losses: int, number: int | None = None) -> None:
    """Let the nth loss of the process fail as a kill does, without a chance to save; or raise a signal there."""
    original, count = TrainingObjective.loss, iter(range(1, 1000))

    def loss(self: TrainingObjective, model: torch.nn.Module, batch: Any) -> Any:
        if next(count) == losses:
            if number is None:
                raise KeyboardInterrupt
            signal.raise_signal(number)
        return original(self, model, batch)

    monkeypatch.setattr(TrainingObjective, "loss", loss)
