"""What the engine's loop costs over a bare one: the same model, images, loss, clipping, AdamW and moving average.

    python runs/loop_overhead.py --rounds 9

The bare loop is what one would write in a notebook: a plain DataLoader over the same transformed images, no seeds, no
log, no checkpoints. Both train a round in turns; the ratio is that of the medians. Stop everything else meanwhile.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from timm.utils import ModelEmaV3
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from gcvit.bench.report import machine
from gcvit.data.shapes import draw_built_in
from gcvit.engine.checkpoint import Saver
from gcvit.engine.log import RunLog
from gcvit.engine.loop import train_epoch
from gcvit.engine.state import State
from gcvit.engine.stopping import StopRequest
from gcvit.tasks.classify import CLASSIFY
from gcvit.tasks.classify.recipes import quickstart
from gcvit.tasks.train import TrainingObjective, make_plan


def bare_loop(model: nn.Module, dataset: torch.utils.data.Dataset, batch_size: int, epochs: int) -> Callable[[], None]:
    """A round of the bare loop: one epoch."""
    loader = DataLoader(dataset, batch_size, shuffle=True, drop_last=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(loader) * epochs)
    average, steps = ModelEmaV3(model, 0.999, use_warmup=True), 0

    def epoch() -> None:
        nonlocal steps
        model.train()
        for images, labels in loader:
            loss = cross_entropy(model(images), labels)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            steps += 1
            average.update(model, steps)

    return epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--images", type=int, default=960, help="of a round, an epoch of the built-in shapes")
    asked = parser.parse_args()

    config = replace(quickstart(), train_images=asked.images, val_images=100, epochs=asked.rounds + 1, device="cpu")
    data = CLASSIFY.open_data(config)
    draw_built_in(data.train, iter)
    plan = make_plan(config, len(data.train), torch.device("cpu"))
    bare, ours = (CLASSIFY.build(config, data, plan, None)[0] for _ in range(2))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = RunLog(folder / "log.jsonl", epochs=plan.epochs, steps=plan.steps)
        objective = TrainingObjective(ours, config, data, CLASSIFY.loss(config, data, plan), plan, folder)
        state = State(ours.model, config.optim)
        saver = Saver(folder / "checkpoints", {}, minutes=config.checkpoint_minutes, keep=config.keep_checkpoints)
        contenders: dict[str, Callable[[], None]] = {
            "bare": bare_loop(bare.model, objective.loader.dataset, config.batch_size, plan.epochs),
            "engine": lambda: train_epoch(state, objective, plan, log, saver, stop),
        }
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        with log, StopRequest() as stop:
            for _ in range(asked.rounds + 1):
                for name, round_of in contenders.items():
                    start = time.perf_counter()
                    round_of()
                    seconds[name].append(time.perf_counter() - start)
    for name, value in machine(torch.device("cpu")).items():
        print(f"{name:9} {value}")
    for name, values in seconds.items():
        print(f"{name:7} {asked.images / median(values[1:]):7.1f} images/s")  # the first round warms up
    paired = median(ours / bare for ours, bare in zip(seconds["engine"][1:], seconds["bare"][1:], strict=True))
    ratio = median(seconds["engine"][1:]) / median(seconds["bare"][1:])
    print(
        f"engine / bare: {ratio:.3f} of the medians, {paired:.3f} median of the ratios; a checkpoint per round included"
    )


if __name__ == "__main__":
    main()
