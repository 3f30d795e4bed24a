"""The training loop. Its only position is the step: order, seeds and learning rate are functions of it."""

import random
import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import inf, isfinite

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gcvit import distributed
from gcvit.data.sampling import Share, derive_seed
from gcvit.engine.device import Precision, autocast
from gcvit.engine.log import RunLog
from gcvit.engine.optim import OptimConfig
from gcvit.engine.results import Results
from gcvit.engine.saving import Saver
from gcvit.engine.schedule import learning_rate
from gcvit.engine.state import State
from gcvit.engine.stopping import Stopped, StopRequest
from gcvit.engine.task import Batch, Task


@dataclass(frozen=True)
class Plan:
    """The numbers of a run. A step is one update of the weights, from `share.batch_size` images."""

    epochs: int
    steps_per_epoch: int
    share: Share
    optim: OptimConfig
    device: torch.device
    precision: Precision = "auto"
    seed: int = 0
    eval_every: int = 1
    """Epochs from one evaluation to the next; the last epoch is always evaluated."""
    log_every: int = 10
    """Steps from one line of the log to the next, and from one wait for the device to the next."""
    length: int | None = None
    """Steps in all, where a run is counted in steps: its epochs are then the stretches from one evaluation to the next,
    and the last one may be shorter. None: all epochs are whole."""

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch if self.length is None else self.length

    def epochs_done(self, step: int) -> int:
        """The number of epochs that are over after `step` steps."""
        return self.epochs if step == self.steps else step // self.steps_per_epoch

    def ends_epoch(self, step: int) -> bool:
        """Whether an epoch is over after `step` steps, or none has begun."""
        return step % self.steps_per_epoch == 0 or step == self.steps

    def learning_rate(self, step: int) -> float:
        """The learning rate of step 0, 1, … `steps` - 1."""
        optim = self.optim
        return learning_rate(
            step,
            steps=self.steps - round(optim.cooldown_epochs * self.steps_per_epoch),
            peak=optim.peak_lr(self.share.batch_size),
            warmup_steps=round(optim.warmup_epochs * self.steps_per_epoch)
            if optim.warmup_steps is None
            else optim.warmup_steps,
            start=optim.warmup_lr,
            floor=optim.min_lr,
            shape=optim.schedule,
        )

    def evaluates(self, epoch: int) -> bool:
        """Whether there is an evaluation after epoch 1, 2, …"""
        return epoch % self.eval_every == 0 or epoch == self.epochs


class TrainingDiverged(ValueError):
    """Loss or gradients became infinite or not a number."""


def train_step(state: State, batches: Iterator[Batch], task: Task[Batch], plan: Plan) -> tuple[Tensor, Tensor]:
    """One update of the weights. Returns, without waiting, this process's loss and the norm of all gradients before
    clipping."""
    rate = plan.learning_rate(state.step)
    for group in state.optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)
    loss = torch.zeros((), device=plan.device)
    for passed in range(plan.share.passes):
        batch = next(batches)
        seed_everything(plan.seed, state.step, plan.share.chunk(passed))
        with _gradients_stay_here(state.forward, unless=passed + 1 == plan.share.passes):
            with autocast(plan.device, plan.precision):
                share = task.loss(state.forward, batch) / plan.share.passes
            share.backward()
        loss += share.detach()
    norm = nn.utils.clip_grad_norm_(state.model.parameters(), plan.optim.clip_grad or inf)
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    state.step += 1
    if state.ema is not None:
        state.ema.update(state.model, state.step)
    return loss, norm


def fit(
    state: State, task: Task[Batch], plan: Plan, log: RunLog, results: Results, saver: Saver, stop: StopRequest
) -> None:
    """Train from `state.step` to the plan's last step; save at the end of each epoch, then evaluate.

    A state that is at the end of an epoch without an evaluation is evaluated first, so that a run may be killed
    anywhere. Raises TrainingDiverged, naming step and samples, before anything of such a step is saved, and Stopped
    when `stop` was asked for and all is saved.
    """
    while True:
        epoch = plan.epochs_done(state.step)
        if plan.ends_epoch(state.step) and epoch > results.last_epoch and plan.evaluates(epoch):
            _evaluate(state, task, epoch, log, results)
        if state.step == plan.steps:
            return
        train_epoch(state, task, plan, log, saver, stop)


def train_epoch(state: State, task: Task[Batch], plan: Plan, log: RunLog, saver: Saver, stop: StopRequest) -> None:
    """The steps from `state.step` to the end of its epoch, reported to the log every `log_every` steps."""
    state.model.train()
    epoch, first = divmod(state.step, plan.steps_per_epoch)
    last = min(plan.steps_per_epoch, plan.steps - epoch * plan.steps_per_epoch)
    batches, waiting, start = iter(task.batches(epoch, first)), [], time.perf_counter()
    for inside in range(first + 1, last + 1):
        waiting.append(torch.stack(train_step(state, batches, task, plan)))
        wish = distributed.highest(stop.signal or int(saver.due()))  # 0: nothing, 1: save, else the signal to stop for
        save = wish > 0 or inside == last
        if save or state.step % plan.log_every == 0:
            # The one place that waits for the device.
            values = (distributed.total(torch.stack(waiting)) / plan.share.ranks).tolist()
            now = time.perf_counter()
            _check_finite(values, state.step, task, plan)
            log.steps(
                state.step,
                epoch + 1,
                images=len(values) * plan.share.batch_size,
                seconds=now - start,
                loss=sum(loss for loss, _ in values) / len(values),
                grad_norm=max(norm for _, norm in values),
                lr=plan.learning_rate(state.step - 1),
            )
            waiting, start = [], now
        if save:
            saver.save(state)
            start = time.perf_counter()
        if wish > 1 and state.step < plan.steps:
            raise Stopped(f"saved at step {state.step} of {plan.steps}, on {signal.Signals(wish).name}", wish)


def seed_everything(*key: int) -> None:
    """Seed Python, NumPy and torch (all devices) from a hash of the key, so that no state need be saved."""
    seed = derive_seed(*key)
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed asks every backend, which takes 200 times longer
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)


def _evaluate(state: State, task: Task, epoch: int, log: RunLog, results: Results) -> None:
    start = time.perf_counter()
    distributed.share_buffers(state.result)  # so that all ranks evaluate what rank 0 saves
    metrics = task.evaluate(state.result)
    if not all(map(isfinite, metrics.values())):
        raise TrainingDiverged(f"evaluation after epoch {epoch} gave {dict(metrics)}; lower the learning rate")
    best = results.is_best(metrics[task.score], task.score)
    # The log comes first: what it has of an epoch that was then not saved, `read_log` leaves out.
    log.evaluation(epoch, metrics, step=state.step, best=best, seconds=time.perf_counter() - start)
    results.save(task, state.result, epoch, metrics, best=best)


def _gradients_stay_here(model: nn.Module, *, unless: bool) -> AbstractContextManager[None]:
    """Gradients are averaged over the processes once per step, in its last pass."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) and not unless else nullcontext()


def _check_finite(values: list[list[float]], last_step: int, task: Task, plan: Plan) -> None:
    """`values` are loss and gradient norm of the steps up to `last_step`."""
    for step, (loss, norm) in enumerate(values, last_step - len(values) + 1):
        if not (isfinite(loss) and isfinite(norm)):
            epoch, update = divmod(step - 1, plan.steps_per_epoch)
            names = task.samples(epoch, update)
            shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
            where = f"step {step}" if plan.length else f"epoch {epoch + 1}, step {step}"
            raise TrainingDiverged(
                f"training diverged in {where}: the loss is {loss}, its gradients' norm {norm}; "
                f"lower the learning rate, warm up for longer, or train in fp32. The step's images: {shown}"
            )
