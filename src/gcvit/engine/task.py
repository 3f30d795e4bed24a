"""What a task offers the engine, which knows no model."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from torch import Tensor, nn

Batch = TypeVar("Batch")


class Task(Protocol[Batch]):
    """What a task offers the engine."""

    score: str
    """The metric of `evaluate` that is the larger the better, and picks the best epoch."""

    def batches(self, epoch: int, start: int = 0) -> Iterable[Batch]:
        """This process's micro-batches of epoch 0, 1, …, from its update `start` on, on the device; a function of the
        two alone."""

    def samples(self, epoch: int, update: int) -> list[str]:
        """The names of what update 0, 1, … of an epoch learns from, on all processes."""

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The mean loss over the micro-batch, a scalar."""

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """Metrics on the held-out data, the same on all processes."""

    def save(self, model: nn.Module, folder: Path, metadata: Mapping[str, str]) -> None:
        """Write the model, so that an interrupted write leaves what was in `folder` readable, with `metadata` in the
        head of its `model.safetensors`."""
