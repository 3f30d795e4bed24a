"""One of several processes that train together, started by torchrun: worker.py CONFIG OUT [what goes wrong].

What goes wrong is "SIGNAL:RANK:LOSS": that rank sends itself the signal at its nth loss, once in all attempts; or ERROR
in the place of the signal: it raises a ValueError there.
"""

import os
import signal
import sys
from pathlib import Path

import torch

from gcvit import distributed
from gcvit.cli.main import main
from gcvit.tasks.classify.task import ClassifyTask


def plant(fault: str, out: Path) -> None:
    name, rank, at = fault.split(":")
    once = out.with_suffix(".happened")
    original, count = ClassifyTask.loss, iter(range(1, 1000))

    def loss(self: ClassifyTask, model: torch.nn.Module, batch: tuple) -> torch.Tensor:
        if next(count) == int(at) and distributed.rank() == int(rank) and not once.exists():
            once.touch()
            if name == "ERROR":
                raise ValueError("only this rank has a bad image")
            os.kill(os.getpid(), signal.Signals[name])
        return original(self, model, batch)

    ClassifyTask.loss = loss  # type: ignore[method-assign]


if __name__ == "__main__":
    torch.set_num_threads(1)
    config, out = sys.argv[1:3]
    if len(sys.argv) > 3:
        plant(sys.argv[3], Path(out))
    main(["train", "classify", "--config", config, "--out", out])
