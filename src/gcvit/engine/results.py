"""The weights that a run is for: the best and the last."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import nn

from gcvit import distributed
from gcvit.engine.task import Task

WEIGHTS = "model.safetensors"


class Results:
    """`best/` and `last/` in a run's folder, written by the task on rank 0, each with its epoch and metrics inside.

    They are their own record: a run that goes on reads there what was best, and what was evaluated last.
    """

    def __init__(self, folder: Path) -> None:
        self.best, self.last = folder / "best", folder / "last"
        self.best_epoch, self.best_metrics = distributed.broadcast(_read(self.best))
        self.last_epoch, _ = distributed.broadcast(_read(self.last))

    def is_best(self, value: float, score: str) -> bool:
        """Whether no earlier epoch has a higher value of the metric `score`."""
        return not self.best_epoch or value >= self.best_metrics[score]

    def save(self, task: Task, model: nn.Module, epoch: int, metrics: Mapping[str, float], *, best: bool) -> None:
        """Save the model after `epoch` as the last one, and as the best one if it is.

        Raises OSError, on all ranks, when the disk is full; what was there stays.
        """
        metadata = {"epoch": str(epoch), "metrics": json.dumps(dict(metrics))}
        if best:
            distributed.on_main(lambda: task.save(model, self.best, metadata))
            self.best_epoch, self.best_metrics = epoch, dict(metrics)
        # After the best: that the last one is there says that both are.
        distributed.on_main(lambda: task.save(model, self.last, metadata))
        self.last_epoch = epoch


def _read(folder: Path) -> tuple[int, dict[str, float]]:
    """Epoch and metrics of a saved model; 0 and none where there is none."""
    try:
        with safe_open(folder / WEIGHTS, "pt") as file:
            metadata = file.metadata()
    except (OSError, SafetensorError):
        return 0, {}
    return int(metadata["epoch"]), json.loads(metadata["metrics"])
