"""A study is a few arms with a few seeds each. Its results survive a stop: started again, it does only what is left."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import torch
from torch import nn

from gcvit.bench.cost import macs, parameters
from gcvit.cli.output import say, table
from gcvit.engine.config import differences
from gcvit.engine.log import RunLog, read_log
from gcvit.engine.loop import Plan, train_step
from gcvit.engine.state import State
from gcvit.engine.task import Task
from gcvit.files import write_atomically
from gcvit.model.config import Pair

COST_TOLERANCE = 0.1


@dataclass(frozen=True)
class Result:
    """What one arm reached with one seed.

    score: on the held-out images, 0 … 1: top-1 or mIoU. loss: mean cross-entropy on them.
    seconds: of the run since it was started or went on. images_per_second: as `training_speed` gives it.
    """

    score: float
    loss: float
    seconds: float
    images_per_second: float


def run_study(
    folder: Path, arms: Sequence[str], seeds: int, budget: Mapping[str, Any], run: Callable[[str, int], Result]
) -> dict[str, list[Result]]:
    """`run(arm, seed)` for every arm with seeds 0, 1, …, all arms of a seed before the next one, so that a stop
    leaves whole seeds. Returns the results of each arm in the order of the seeds.

    Each result becomes a line of `folder`/results.jsonl, together with the budget: all settings that it depends on,
    in plain JSON types. Those that are there already are not run again. Raises ValueError when they had another budget.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    for row in rows:
        if changes := differences(row["budget"], budget):
            raise ValueError(f"{path} has results of another budget: {'; '.join(changes)}; give another folder")
    found = {(row["arm"], row["seed"]): Result(**row["result"]) for row in rows}
    left = [(arm, seed) for seed in range(seeds) for arm in arms if (arm, seed) not in found]
    for number, (arm, seed) in enumerate(left, 1):
        say(f"{arm}, seed {seed}: run {number} of {len(left)}")
        result = found[arm, seed] = run(arm, seed)
        rows.append({"arm": arm, "seed": seed, "result": asdict(result), "budget": dict(budget)})
        write_atomically(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
        say(f"{arm}, seed {seed}: {result.score:.2%} after {result.seconds:.0f} s")
    return {arm: [found[arm, seed] for seed in range(seeds)] for arm in arms}


def costs(models: Mapping[str, nn.Module], ours: nn.Module, size: int | Pair) -> dict[str, dict[str, str]]:
    """Columns of the table for each model. Raises ValueError when one costs much more or less than ours."""
    wanted, columns = macs(ours, size), {}
    for arm, model in models.items():
        cost = macs(model, size)
        if abs(cost / wanted - 1) > COST_TOLERANCE:
            raise ValueError(f"{arm} takes {cost / 1e6:.3g} MMACs, ours {wanted / 1e6:.3g}: too far apart")
        columns[arm] = {">parameters": f"{parameters(model):,}", ">MMACs": f"{cost / 1e6:.3g}"}
    return columns


def training_speed(log: Path) -> float:
    """Median images per second over the reported stretches of training, from a run's log.jsonl."""
    return median(event["images_per_second"] for event in read_log(log) if event["event"] == "steps")


def print_results(
    results: Mapping[str, Sequence[Result]], facts: Mapping[str, Mapping[str, str]], score: str = "top-1"
) -> None:
    """The table of a study. facts: of each arm, further columns by heading (">" in front: set to the right).
    score: what it is called."""
    headings = list(next(iter(facts.values()), {}))
    rows = []
    for arm, runs in results.items():
        shares = [100 * run.score for run in runs]
        spread = f" ± {stdev(shares):.2f}" if len(shares) > 1 else ""
        rows.append(
            [
                arm,
                *facts[arm].values(),
                "  ".join(f"{share:.2f}" for share in shares),
                f"{mean(shares):.2f}{spread}",
                f"{mean(run.loss for run in runs):.4f}",
                f"{median(run.images_per_second for run in runs):.0f}",
            ]
        )
    measured = [f">{score} of each seed, %", ">mean ± standard deviation", ">loss", ">images/s, median"]
    table(["arm", *headings, *measured], rows)


def take_steps(state: State, task: Task, plan: Plan, log: RunLog) -> None:
    """All steps of the plan, the engine's own, without its checkpoints: a run is short, and is done again instead."""
    state.model.train()
    while state.step < plan.steps:
        epoch, first = divmod(state.step, plan.steps_per_epoch)
        batches, losses, start = iter(task.batches(epoch, first)), [], time.perf_counter()
        last = min((epoch + 1) * plan.steps_per_epoch, plan.steps)
        while state.step < last:
            losses.append(train_step(state, batches, task, plan)[0])
            if state.step % plan.log_every == 0 or state.step == last:
                loss = torch.stack(losses).mean().item()
                if not isfinite(loss):
                    raise ValueError(f"the loss is {loss} in the steps up to {state.step}")
                images, seconds = len(losses) * plan.share.batch_size, time.perf_counter() - start
                log.steps(state.step, epoch + 1, images=images, seconds=seconds, loss=loss)
                losses, start = [], time.perf_counter()
