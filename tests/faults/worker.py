"""One of several processes that train together, started by torchrun: worker.py CONFIG OUT [what goes wrong].

What goes wrong is "SIGNAL:RANK:LOSS": that rank sends itself the signal at its nth loss, once in all attempts.
"""

import os
import signal
import sys
from pathlib import Path

import torch

from gcvit import distributed
from gcvit.engine.config import load_config
from gcvit.engine.stopping import Stopped
from gcvit.tasks.classify import ClassifyConfig, train
from gcvit.tasks.classify.task import ClassifyTask


def plant(fault: str, out: Path) -> None:
    name, rank, at = fault.split(":")
    once = out.with_suffix(".happened")
    original, count = ClassifyTask.loss, iter(range(1, 1000))

    def loss(self: ClassifyTask, model: torch.nn.Module, batch: tuple) -> torch.Tensor:
        if next(count) == int(at) and distributed.rank() == int(rank) and not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.Signals[name])
        return original(self, model, batch)

    ClassifyTask.loss = loss  # type: ignore[method-assign]


if __name__ == "__main__":
    torch.set_num_threads(1)
    config, out = Path(sys.argv[1]), Path(sys.argv[2])
    if len(sys.argv) > 3:
        plant(sys.argv[3], out)
    try:
        train(load_config(ClassifyConfig(), config), out)
    except Stopped as stop:
        print(f"rank {os.environ['RANK']} stopped: {stop}")
