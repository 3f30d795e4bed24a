"""One run from scratch with the data, steps and loss of `gcvit train`, without checkpoints: it is short, and is done
again instead. What `gcvit train` does to the model before, frozen stages, compiling and rates by layer, it does not."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from math import isfinite, prod
from pathlib import Path
from statistics import median
from time import perf_counter

import torch

from gcvit.engine.device import resolve_device, threads_for
from gcvit.engine.log import RunLog, read_log
from gcvit.engine.loop import Plan, TrainingDiverged, seed_everything, train_step
from gcvit.engine.objective import Objective
from gcvit.engine.state import State
from gcvit.tasks.config import RunConfig
from gcvit.tasks.opened import Opened
from gcvit.tasks.task import Data, Task
from gcvit.tasks.train import TrainingObjective, make_plan


@dataclass(frozen=True)
class Result:
    """What one run reached.

    score: on the held-out images, 0 … 1: top-1, mIoU or box AP. loss: mean cross-entropy on them, where it is measured.
    seconds: of the run since it was started or went on. images_per_second: the median over stretches of training.
    figures: further ones, by name.
    """

    score: float
    loss: float | None
    seconds: float
    images_per_second: float
    figures: dict[str, float] = field(default_factory=dict)


def result_of(task: Task, metrics: Mapping[str, float | None], seconds: float, log: Path) -> Result:
    """The result of a run with these metrics and this log."""
    figures = {name: value for name, value in metrics.items() if value is not None}
    speed = median(event["images_per_second"] for event in read_log(log) if event["event"] == "steps")
    return Result(figures.get(task.score, 0.0), figures.get("loss"), seconds, speed, figures)


def build_fresh(task: Task, config: RunConfig, data: Data) -> Opened:
    """The model that a run of this configuration starts from, as its seed makes it."""
    plan = make_plan(config, len(data.train), resolve_device(config.device))
    seed_everything(config.seed)
    return task.build(config, data, plan, None)[0]


def train_once(opened: Opened, config: RunConfig, data: Data, log_path: Path) -> Result:
    """Train the model, and measure the moving average of its weights once, after the last step. A log that is there
    already, of a run that was stopped, is replaced. Raises TrainingDiverged for a loss that is no number any more."""
    start, task = perf_counter(), opened.task
    plan = make_plan(config, len(data.train), resolve_device(config.device))
    objective = TrainingObjective(opened, config, data, task.loss(config, data, plan), plan, log_path.parent)
    seed_everything(config.seed)
    state = State(opened.model.to(plan.device), config.optim)
    log_path.unlink(missing_ok=True)
    epochs = plan.epochs if config.steps is None else None
    pixels = plan.share.micro_batch * prod(task.size(opened.preprocessing))
    with RunLog(log_path, epochs=epochs, steps=plan.steps) as log, closing(objective):
        with threads_for(state.model, pixels, plan.device):
            _take_steps(state, objective, plan, log)
        found = objective.evaluator(state.result, device=plan.device, precision=plan.precision)
        log.evaluation(plan.epochs, found.metrics, step=plan.steps, best=True, seconds=found.seconds)
    return result_of(task, found.metrics, perf_counter() - start, log_path)


def _take_steps(state: State, objective: Objective, plan: Plan, log: RunLog) -> None:
    """All steps of the plan."""
    state.model.train()
    while state.step < plan.steps:
        epoch, first = divmod(state.step, plan.steps_per_epoch)
        batches, losses, start = iter(objective.batches(epoch, first)), [], perf_counter()
        last = min((epoch + 1) * plan.steps_per_epoch, plan.steps)
        while state.step < last:
            parts, _ = train_step(state, batches, objective, plan)
            losses.append(torch.stack([*parts.values()]).sum())
            if state.step % plan.log_every == 0 or state.step == last:
                loss = torch.stack(losses).mean().item()
                if not isfinite(loss):
                    raise TrainingDiverged(f"the loss is {loss} in the steps up to {state.step}")
                images, seconds = len(losses) * plan.share.batch_size, perf_counter() - start
                log.steps(state.step, epoch + 1, images=images, seconds=seconds, loss=loss)
                losses, start = [], perf_counter()
