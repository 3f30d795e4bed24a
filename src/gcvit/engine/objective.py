"""What a run is for: the engine knows no model and no task, only this."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from torch import Tensor, nn

Batch = TypeVar("Batch")
Loss = Callable[[nn.Module, Any], Mapping[str, Tensor]]
"""Of a model and a batch, in parts by name, as `Objective.loss` gives it."""


class Objective(Protocol[Batch]):
    """Batches, their loss, a measure of what was learned, and a way to save it."""

    score: str
    """The metric of `evaluate` that is the larger the better, and picks the best weights."""

    def batches(self, epoch: int, start: int = 0) -> Iterable[Batch]:
        """This process's micro-batches of epoch 0, 1, …, from its update `start` on, on the device; a function of the
        two alone."""

    def samples(self, epoch: int, update: int) -> list[str]:
        """The names of what update 0, 1, … of an epoch learns from, on all processes."""

    def loss(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """The parts of the loss by name, each a scalar mean over the micro-batch. Their sum is trained. The names are
        the same for every batch and on every process."""

    def evaluate(self, model: nn.Module) -> Mapping[str, float | None]:
        """Metrics on the held-out data, the same on all processes, `score` among them and always a number. None where
        the data say nothing. `loss`, where there is one, is drawn beside the training loss."""

    def save(self, model: nn.Module, folder: Path, metadata: Mapping[str, str]) -> None:
        """Write the model, so that an interrupted write leaves what was in `folder` readable, with `metadata` in the
        head of its `model.safetensors`."""

    def close(self) -> None:
        """End the processes that load data."""
