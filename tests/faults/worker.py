"""A training command in a process of its own, perhaps one of several, with an empty report.

What goes wrong, `fault`, is "SIGNAL:RANK:LOSS": that rank sends itself the signal at its nth loss, once in all
attempts; or ERROR in the place of the signal: it raises a UserError there.
"""

import os
import signal
from pathlib import Path
from typing import Any

import torch

from gcvit import distributed
from gcvit.cli.main import main
from gcvit.errors import UserError
from gcvit.tasks import train as training
from gcvit.tasks.train import TrainingObjective
from tasks.tiny import empty_report


def plant(fault: str, out: Path) -> None:
    name, rank, at = fault.split(":")
    once = out.with_suffix(".happened")
    original, count = TrainingObjective.loss, iter(range(1, 1000))

    def loss(self: TrainingObjective, model: torch.nn.Module, batch: Any) -> Any:
        if next(count) == int(at) and distributed.rank() == int(rank) and not once.exists():
            once.touch()
            if name == "ERROR":
                raise UserError("only this rank has a bad image")
            os.kill(os.getpid(), signal.Signals[name])
        return original(self, model, batch)

    TrainingObjective.loss = loss  # type: ignore[method-assign]


def train(task: str, config: str, out: str, fault: str = "") -> None:
    training.save_outputs = empty_report
    if fault:
        plant(fault, Path(out))
    main(["train", task, "--config", config, "--out", out])
