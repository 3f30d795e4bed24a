"""SIGKILL at random moments of a save: is there always a whole checkpoint to go on from, and never an older one than
the last that was promised?

    python runs/kill_saves.py --kills 200

A child process saves checkpoint after checkpoint, and says so after each; the parent kills it at a random moment, opens
what is there and compares every tensor with what the step says it must be. Some of the checkpoints are damaged on
purpose before that (`--damage`), by one flipped byte.
"""

import argparse
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from torch import nn

from gcvit.engine.checkpoint import list_checkpoints, load_checkpoint, newest_checkpoint, save_checkpoint
from gcvit.engine.settings import OptimConfig
from gcvit.engine.state import State


def fresh_state(width: int) -> State:
    """An AdamW state of about 16 × width² bytes."""
    state = State(nn.Linear(width, width), OptimConfig(ema_decay=0.9))
    for weight in state.model.parameters():
        weight.grad = torch.ones_like(weight)
    state.optimizer.step()  # so that there are moments to save
    return state


def tensors(state: State) -> list[torch.Tensor]:
    """All that changes from step to step, but the optimiser's own counter."""
    moments = [tensor for values in state.optimizer.state.values() for tensor in values.values() if tensor.ndim]
    return [*state.model.state_dict().values(), *state.result.state_dict().values(), *moments]


def save_for_ever(folder: Path, first: int, width: int, promise: Connection) -> None:
    """Save steps `first`, `first` + 1, …, and send each number when its save has returned."""
    torch.set_num_threads(1)
    state = fresh_state(width)
    for step in range(first, sys.maxsize):
        state.step = step
        for tensor in tensors(state):
            tensor.detach().fill_(step)
        save_checkpoint(folder, state, {"of": "a run that is killed"}, keep=2)
        promise.send(step)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--width", type=int, default=512, help="of the layer that is saved")
    parser.add_argument("--damage", type=float, default=0.25, help="share of kills after which a byte is flipped")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()

    torch.set_num_threads(1)
    draw, counts, promised = random.Random(asked.seed), Counter[str](), 0
    # A fork of a process that has imported everything: two hundred starts cost seconds, not minutes.
    processes = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for _ in range(asked.kills):
            inbox, outbox = processes.Pipe(duplex=False)
            child = processes.Process(target=save_for_ever, args=(folder, promised + 1, asked.width, outbox))
            child.start()
            promised = inbox.recv()  # at least one save, so that the next one starts at about now
            time.sleep(draw.uniform(0, 0.05))
            os.kill(child.pid, signal.SIGKILL)  # type: ignore[arg-type]
            child.join()
            while inbox.poll():
                promised = inbox.recv()
            counts["killed inside a save"] += any(path.name.endswith(".writing") for path in folder.iterdir())

            damaged = None
            if draw.random() < asked.damage and len(list_checkpoints(folder)) > 1:
                damaged = list_checkpoints(folder)[0]
                file = draw.choice(sorted(damaged.iterdir()))
                content = bytearray(file.read_bytes())
                content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
                file.write_bytes(content)

            said: list[str] = []
            path = newest_checkpoint(folder, said.append)
            if path is None:
                sys.exit(f"after step {promised} there is no whole checkpoint: {said}")
            state = fresh_state(asked.width)
            load_checkpoint(path, state)
            if damaged is None and state.step < promised:
                sys.exit(f"step {promised} was promised, {state.step} was found")
            if (damaged is not None) != bool(said):
                sys.exit(f"damaged: {damaged}; reported: {said}")
            if not all((tensor == state.step).all() for tensor in tensors(state)):
                sys.exit(f"{path} holds something else than step {state.step}")
            counts["whole checkpoint found"] += 1
            counts["damaged on purpose, reported, the one before taken"] += damaged is not None
            promised = max(promised, state.step)
    for what, count in counts.items():
        print(f"{count:5} of {asked.kills}  {what}")
    print("Next: the same for whole runs is tests/faults/test_exact_resume.py")


if __name__ == "__main__":
    main()
