"""Which weights of a run are kept: the best and the last."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from gcvit.engine.loop import Task


class Checkpoints:
    """`last/` and `best/` in a run's folder, written by the task, whose writes may be interrupted."""

    def __init__(self, folder: Path) -> None:
        self.best, self.last = folder / "best", folder / "last"
        self.best_epoch: int | None = None
        self.best_metrics: Mapping[str, float] = {}

    def save(self, task: Task, model: nn.Module, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Save the model after `epoch` as the last one, and as the best unless an earlier one scored higher.

        Returns whether it is the best one. Raises OSError when the disk is full; what was there stays.
        """
        metadata = {"epoch": str(epoch), **{name: repr(value) for name, value in metrics.items()}}
        task.save(model, self.last, metadata)
        best = self.best_epoch is None or metrics[task.score] >= self.best_metrics[task.score]
        if best:
            task.save(model, self.best, metadata)
            self.best_epoch, self.best_metrics = epoch, metrics
        return best
