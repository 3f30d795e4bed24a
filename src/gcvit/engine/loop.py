"""The training loop. Its only position is the step: order, seeds and learning rate are functions of it."""

import random
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from gcvit.data.sampling import derive_seed
from gcvit.engine.checkpoint import Checkpoints
from gcvit.engine.device import Precision, autocast
from gcvit.engine.log import RunLog
from gcvit.engine.optim import OptimConfig, create_optimizer
from gcvit.engine.schedule import learning_rate

Batch = TypeVar("Batch")


class Task(Protocol[Batch]):
    """What a task offers the engine."""

    score: str
    """The metric of `evaluate` that is the larger the better, and picks the best epoch."""

    def batches(self, epoch: int) -> Iterable[Batch]:
        """The batches of one epoch (0, 1, …), on the device; a function of the epoch alone."""

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The mean loss over the batch, a scalar."""

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """Metrics on the held-out data."""

    def save(self, model: nn.Module, folder: Path, metadata: Mapping[str, str]) -> None:
        """Write the model so that an interrupted write leaves what was in `folder` readable."""


@dataclass(frozen=True)
class Plan:
    """The numbers of a run. A step is one update of the weights, from `accumulate` batches of `batch_size`."""

    epochs: int
    steps_per_epoch: int
    batch_size: int
    optim: OptimConfig
    device: torch.device
    precision: Precision = "auto"
    accumulate: int = 1
    seed: int = 0
    eval_every: int = 1
    """Epochs from one evaluation to the next; the last epoch is always evaluated."""
    log_every: int = 10
    """Steps from one line of the log to the next, and from one wait for the device to the next."""

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    def learning_rate(self, step: int) -> float:
        """The learning rate of step 0, 1, … `steps` - 1."""
        optim = self.optim
        return learning_rate(
            step,
            steps=self.steps - round(optim.cooldown_epochs * self.steps_per_epoch),
            peak=optim.lr,
            warmup_steps=round(optim.warmup_epochs * self.steps_per_epoch),
            start=optim.warmup_lr,
            floor=optim.min_lr,
        )


class State:
    """All that training changes: the weights, their moving average, the optimiser and the step counter."""

    def __init__(self, model: nn.Module, optim: OptimConfig) -> None:
        self.model = model
        self.optimizer = create_optimizer(model, optim)
        self.ema = None if optim.ema_decay is None else ModelEmaV3(model, optim.ema_decay, use_warmup=True)
        self.step = 0

    @property
    def result(self) -> nn.Module:
        """The model to evaluate and save: the moving average where there is one."""
        return self.model if self.ema is None else self.ema.module


class TrainingDiverged(ValueError):
    """Loss or gradients became infinite or not a number."""


def train_step(state: State, batches: Iterator[Batch], task: Task[Batch], plan: Plan) -> tuple[Tensor, Tensor]:
    """One update of the weights. Returns, without waiting, its loss and its gradients' norm before clipping."""
    rate = plan.learning_rate(state.step)
    for group in state.optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)
    loss = torch.zeros((), device=plan.device)
    for micro_step in range(plan.accumulate):
        batch = next(batches)
        seed_everything(plan.seed, state.step, micro_step)
        with autocast(plan.device, plan.precision):
            share = task.loss(state.model, batch) / plan.accumulate
        share.backward()
        loss += share.detach()
    norm = nn.utils.clip_grad_norm_(state.model.parameters(), plan.optim.clip_grad or inf)
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    state.step += 1
    if state.ema is not None:
        state.ema.update(state.model, state.step)
    return loss, norm


def fit(state: State, task: Task[Batch], plan: Plan, log: RunLog, checkpoints: Checkpoints) -> None:
    """Train from `state.step` to the plan's last step, evaluating and saving at the end of epochs.

    Raises TrainingDiverged, naming epoch and step, before anything of such an epoch is saved.
    """
    while state.step < plan.steps:
        epoch = state.step // plan.steps_per_epoch
        train_epoch(state, task, plan, log, epoch)
        if (epoch + 1) % plan.eval_every == 0 or epoch + 1 == plan.epochs:
            start = time.perf_counter()
            metrics = task.evaluate(state.result)
            if not all(map(isfinite, metrics.values())):
                raise TrainingDiverged(
                    f"evaluation after epoch {epoch + 1} gave {dict(metrics)}; lower the learning rate"
                )
            best = checkpoints.save(task, state.result, epoch + 1, metrics)
            log.evaluation(epoch + 1, metrics, best=best, seconds=time.perf_counter() - start)


def train_epoch(state: State, task: Task[Batch], plan: Plan, log: RunLog, epoch: int) -> None:
    """The steps of one epoch, reported to the log every `log_every` steps."""
    state.model.train()
    batches, waiting, start = iter(task.batches(epoch)), [], time.perf_counter()
    for step in range(plan.steps_per_epoch):
        waiting.append(torch.stack(train_step(state, batches, task, plan)))
        if len(waiting) == plan.log_every or step + 1 == plan.steps_per_epoch:
            values = torch.stack(waiting).tolist()  # the one place that waits for the device
            now = time.perf_counter()
            _check_finite(values, epoch + 1, state.step)
            log.steps(
                state.step,
                epoch + 1,
                images=len(values) * plan.batch_size * plan.accumulate,
                seconds=now - start,
                loss=sum(loss for loss, _ in values) / len(values),
                grad_norm=max(norm for _, norm in values),
                lr=plan.learning_rate(state.step - 1),
            )
            waiting, start = [], now


def seed_everything(*key: int) -> None:
    """Seed Python, NumPy and torch (all devices) from a hash of the key, so that no state need be saved."""
    seed = derive_seed(*key)
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    torch.manual_seed(seed)


def _check_finite(values: list[list[float]], epoch: int, last_step: int) -> None:
    """`values` are loss and gradient norm of the steps up to `last_step`."""
    for step, (loss, norm) in enumerate(values, last_step - len(values) + 1):
        if not (isfinite(loss) and isfinite(norm)):
            raise TrainingDiverged(
                f"training diverged in epoch {epoch}, step {step}: the loss is {loss}, its gradients' norm {norm}; "
                f"lower the learning rate, warm up for longer, or train in fp32"
            )
