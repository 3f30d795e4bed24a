"""A study is a few arms with a few seeds each. Its results survive a stop: started again, it does only what is left."""

import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from math import isfinite
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import torch
from torch import nn

from gcvit.bench.cost import macs, parameters
from gcvit.bench.markdown import markdown_table
from gcvit.bench.rows import Rows
from gcvit.cli.output import say, table
from gcvit.engine.config import as_dict
from gcvit.engine.device import resolve_device
from gcvit.engine.log import RunLog, read_log
from gcvit.engine.loop import Plan, seed_everything, train_step
from gcvit.engine.objective import Objective
from gcvit.engine.state import State
from gcvit.model.config import Pair
from gcvit.tasks.config import RunConfig
from gcvit.tasks.task import Task
from gcvit.tasks.train import TrainingObjective, make_plan
from gcvit.wording import percent

COST_TOLERANCE = 0.1


@dataclass(frozen=True)
class Result:
    """What one arm reached with one seed.

    score: on the held-out images, 0 … 1: top-1, mIoU or box AP. loss: mean cross-entropy on them, where it is measured.
    seconds: of the run since it was started or went on. images_per_second: as `training_speed` gives it.
    figures: further ones, by name.
    """

    score: float
    loss: float | None
    seconds: float
    images_per_second: float
    figures: dict[str, float] = field(default_factory=dict)


def study_parser(about: str | None, out: str) -> ArgumentParser:
    """The flags that every study has; it adds its own. out: the usual folder."""
    parser = ArgumentParser(description=about, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(out))
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--workers", type=int, default=0, help="processes that load images")
    return parser


def run_study(
    folder: Path, arms: Sequence[str], seeds: int, budget: Mapping[str, Any], run: Callable[[str, int], Result]
) -> dict[str, list[Result]]:
    """`run(arm, seed)` for every arm with seeds 0, 1, …, all arms of a seed before the next one, so that a stop
    leaves whole seeds. Returns the results of each arm in the order of the seeds.

    Each result becomes a line of `folder`/results.jsonl, together with the budget: all settings that it depends on,
    in plain JSON types. Those that are there already are not run again. Raises ValueError when they had another budget.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = Rows(folder / "results.jsonl", budget)
    found = {(row["arm"], row["seed"]): Result(**row["result"]) for row in rows.rows}
    left = [(arm, seed) for seed in range(seeds) for arm in arms if (arm, seed) not in found]
    for number, (arm, seed) in enumerate(left, 1):
        say(f"{arm}, seed {seed}: run {number} of {len(left)}")
        result = found[arm, seed] = run(arm, seed)
        rows.add({"arm": arm, "seed": seed, "result": asdict(result)})
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
    results: Mapping[str, Sequence[Result]],
    facts: Mapping[str, Mapping[str, str]],
    score: str = "top-1",
    figures: Mapping[str, str] | None = None,
) -> None:
    """The table of a study. facts: of each arm, further columns by heading (">" in front: set to the right).
    score: what it is called. figures: further ones to tell, and what they are called; in the place of the loss."""
    headings, means = list(next(iter(facts.values()), {})), figures or {}
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
                *(percent(mean(run.figures[name] for run in runs)) for name in means),
                *([] if means else [f"{mean(run.loss or 0.0 for run in runs):.4f}"]),
                f"{median(run.images_per_second for run in runs):.0f}",
            ]
        )
    last = [f">{name}, mean" for name in means.values()] or [">loss"]
    measured = [f">{score} of each seed, %", ">mean ± standard deviation", *last, ">images/s, median"]
    tell(["arm", *headings, *measured], rows)


def tell(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, and once more in Markdown."""
    table(columns, rows)
    print(f"\n{markdown_table(columns, rows)}", flush=True)


def compare_from_scratch(
    options: Namespace, task: Task, config: RunConfig, make: Callable[[str, int], nn.Module]
) -> dict[str, list[Result]]:
    """The study in which what `make` makes for an arm and a number of classes is trained from scratch. options: those
    of `study_parser`, with `arms`."""
    return run_study(
        options.out,
        options.arms,
        options.seeds,
        as_dict(replace(config, workers=0)),  # workers do not change the results
        lambda arm, seed: train_from_scratch(
            task, replace(config, seed=seed), partial(make, arm), options.out / f"{arm}-{seed}.jsonl"
        ),
    )


def train_from_scratch(task: Task, config: RunConfig, make: Callable[[int], nn.Module], log_path: Path) -> Result:
    """Train what `make` makes for a number of classes, all else as in a run with this configuration, and measure the
    moving average of its weights after the last step."""
    start = time.perf_counter()
    data = task.open_data(config)
    plan = make_plan(config, len(data.train), resolve_device(config.device))
    opened, _ = task.build(config, data, plan, None)  # says how pictures are prepared
    objective = TrainingObjective(opened, config, data, task.loss(config, data, plan), plan, log_path.parent)
    seed_everything(config.seed)
    state = State(make(len(data.classes)).to(plan.device), config.optim)
    log_path.unlink(missing_ok=True)  # of a run that was stopped
    epochs = None if config.by_step else plan.epochs
    with RunLog(log_path, epochs=epochs, steps=plan.steps) as log, closing(objective):
        take_steps(state, objective, plan, log)
        result = objective.evaluator(state.result, device=plan.device, precision=plan.precision)
        metrics = result.metrics
        log.evaluation(plan.epochs, metrics, step=plan.steps, best=True, seconds=result.seconds)
    seconds = time.perf_counter() - start
    return result_of(task, metrics, seconds, log_path)


def result_of(task: Task, metrics: Mapping[str, float | None], seconds: float, log: Path) -> Result:
    """The result of a run with these metrics and this log."""
    figures = {name: value for name, value in metrics.items() if value is not None}
    return Result(figures.get(task.score, 0.0), figures.get("loss"), seconds, training_speed(log), figures)


def take_steps(state: State, objective: Objective, plan: Plan, log: RunLog) -> None:
    """All steps of the plan, the engine's own, without its checkpoints: a run is short, and is done again instead."""
    state.model.train()
    while state.step < plan.steps:
        epoch, first = divmod(state.step, plan.steps_per_epoch)
        batches, losses, start = iter(objective.batches(epoch, first)), [], time.perf_counter()
        last = min((epoch + 1) * plan.steps_per_epoch, plan.steps)
        while state.step < last:
            parts, _ = train_step(state, batches, objective, plan)
            losses.append(torch.stack([*parts.values()]).sum())
            if state.step % plan.log_every == 0 or state.step == last:
                loss = torch.stack(losses).mean().item()
                if not isfinite(loss):
                    raise ValueError(f"the loss is {loss} in the steps up to {state.step}")
                images, seconds = len(losses) * plan.share.batch_size, time.perf_counter() - start
                log.steps(state.step, epoch + 1, images=images, seconds=seconds, loss=loss)
                losses, start = [], time.perf_counter()
