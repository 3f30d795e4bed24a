"""The training loop. Its only position is the step: order, seeds and learning rate are functions of it."""

import random
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import reduce
from math import inf, isfinite

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gcvit import distributed
from gcvit.data.sampling import Share, derive_seed
from gcvit.engine.checkpoint import Saver
from gcvit.engine.device import autocast
from gcvit.engine.log import PART, RunLog
from gcvit.engine.objective import Batch, Objective
from gcvit.engine.results import Results
from gcvit.engine.schedule import learning_rate, parse_length
from gcvit.engine.settings import OptimConfig, Precision
from gcvit.engine.state import State
from gcvit.engine.stopping import Stopped, StopRequest
from gcvit.errors import UserError
from gcvit.meta import BEST, LAST
from gcvit.wording import listed


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
    pass_steps: float | None = None
    """Steps of one pass over the training images, where a run is counted in steps; None: steps_per_epoch."""

    def __post_init__(self) -> None:
        """Raises UserError for a warm-up, cool-down or milestone that does not fit the run's length."""
        self.optim.check_lengths(steps=self.steps, epochs=self.steps / (self.pass_steps or self.steps_per_epoch))

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
        steps = max(self.steps - self._in_steps(optim.cooldown), 1)
        return learning_rate(
            step,
            steps=steps,
            peak=optim.peak_lr(self.share.batch_size),
            warmup_steps=min(self._in_steps(optim.warmup), steps),  # both were rounded
            start=optim.warmup_lr,
            floor=optim.min_lr,
            shape=optim.schedule,
            milestones=[self._in_steps(milestone) for milestone in optim.milestones],
        )

    def _in_steps(self, text: str) -> int:
        """The steps of a length in the optimiser's settings."""
        length = parse_length("length", text)
        units = {"step": 1.0, "epoch": self.pass_steps or self.steps_per_epoch, "%": self.steps / 100}
        return round(length.number * units[length.unit])

    def step_of(self, epoch: int) -> int:
        """The number of steps after epoch 1, 2, …"""
        return min(epoch * self.steps_per_epoch, self.steps)

    def evaluations_after(self, epoch: int) -> int:
        """The number of evaluations after later epochs."""
        every = self.epochs // self.eval_every - epoch // self.eval_every
        return every + int(self.epochs % self.eval_every > 0 and epoch < self.epochs)

    def evaluates(self, epoch: int) -> bool:
        """Whether there is an evaluation after epoch 1, 2, …"""
        return epoch % self.eval_every == 0 or epoch == self.epochs


class TrainingDiverged(UserError):
    """Loss or gradients became infinite or not a number."""


def train_step(
    state: State, batches: Iterator[Batch], objective: Objective[Batch], plan: Plan
) -> tuple[dict[str, Tensor], Tensor]:
    """One update of the weights. Returns, without waiting, the parts of this process's loss, and the norm of all
    gradients before clipping."""
    rate = plan.learning_rate(state.step)
    for group in state.optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)
    parts: dict[str, Tensor] = {}
    for passed in range(plan.share.passes):
        batch = next(batches)
        seed_everything(plan.seed, state.step, plan.share.chunk(passed))
        with _gradients_stay_here(state.forward, unless=passed + 1 == plan.share.passes):
            with autocast(plan.device, plan.precision):
                found = objective.loss(state.forward, batch)
                # The first part as it is: a sum that starts from zero would differ in its last bit.
                share = reduce(torch.add, found.values()) / plan.share.passes
            share.backward()
        for name, part in found.items():
            parts[name] = parts.get(name, 0.0) + part.detach() / plan.share.passes
    norm = nn.utils.clip_grad_norm_(state.model.parameters(), plan.optim.clip_grad or inf)
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    state.step += 1
    if state.ema is not None:
        state.ema.update(state.model, state.step)
    return parts, norm


def fit(
    state: State, objective: Objective, plan: Plan, log: RunLog, results: Results, saver: Saver, stop: StopRequest
) -> None:
    """Train from `state.step` to the plan's last step; save at the end of each epoch, then evaluate.

    A state that is at the end of an epoch without an evaluation is evaluated first, so that a run may be killed
    anywhere. Raises TrainingDiverged, naming step and samples, before anything of such a step is saved, and Stopped
    when `stop` was asked for and all is saved.
    """
    saver.record["results"] = results.record()
    log.pace.ahead = plan.evaluations_after(results.last_epoch) + 1  # and the best weights, once more
    for told in results.evaluations:
        log.pace.recall(told["seconds"])
    while True:
        epoch = plan.epochs_done(state.step)
        if plan.ends_epoch(state.step) and epoch > results.last_epoch and plan.evaluates(epoch):
            with log.doing("evaluating"):
                _evaluate(state, objective, epoch, log, results, saver)
        if state.step == plan.steps:
            return
        train_epoch(state, objective, plan, log, saver, stop)


def train_epoch(state: State, objective: Objective, plan: Plan, log: RunLog, saver: Saver, stop: StopRequest) -> None:
    """The steps from `state.step` to the end of its epoch, reported to the log every `log_every` steps."""
    state.model.train()
    epoch, first = divmod(state.step, plan.steps_per_epoch)
    last = min(plan.steps_per_epoch, plan.steps - epoch * plan.steps_per_epoch)
    batches, waiting, start = iter(objective.batches(epoch, first)), [], time.perf_counter()
    names: list[str] = []
    for inside in range(first + 1, last + 1):
        parts, norm = train_step(state, batches, objective, plan)
        names = names or list(parts)
        assert list(parts) == names, f"the loss's parts were {names} and are {list(parts)}"
        waiting.append(torch.stack([*parts.values(), norm]))
        log.step(state.step, epoch + 1)
        wish = distributed.highest(stop.signal or int(saver.due()))  # 0: nothing, 1: save, else the signal to stop for
        save = wish > 0 or inside == last
        if save or state.step % plan.log_every == 0:
            # The one place that waits for the device.
            values = (distributed.total(torch.stack(waiting)) / plan.share.ranks).tolist()
            now = time.perf_counter()
            _check_finite(values, state.step, objective, plan)
            log.steps(
                state.step,
                epoch + 1,
                images=len(values) * plan.share.batch_size,
                seconds=now - start,
                loss=sum(sum(loss) for *loss, _ in values) / len(values),
                **_named(parts, values),
                grad_norm=max(row[-1] for row in values),
                lr=plan.learning_rate(state.step - 1),
            )
            waiting, start = [], now
        if save:
            with log.doing("saving"):
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


def _evaluate(state: State, objective: Objective, epoch: int, log: RunLog, results: Results, saver: Saver) -> None:
    start = time.perf_counter()
    log.pace.evaluate()
    distributed.share_buffers(state.result)  # so that all ranks evaluate what rank 0 saves
    metrics = objective.evaluate(state.result)
    score = metrics[objective.score]
    if score is None:
        raise UserError(
            f"evaluation after epoch {epoch} gave no {objective.score}, by which the best weights are chosen: nothing "
            "held out says anything of it; hold out other images"
        )
    if not isfinite(score):
        raise TrainingDiverged(f"evaluation after epoch {epoch} gave {dict(metrics)}; lower the learning rate")
    metrics = {name: value if value is not None and isfinite(value) else None for name, value in metrics.items()}
    best = results.is_best(score, objective.score)
    # The log comes first: what it has of an epoch that was then not saved, `read_log` leaves out.
    told = log.evaluation(epoch, metrics, step=state.step, best=best, seconds=time.perf_counter() - start)
    results.evaluations.append(told)
    # The last weights after the best: that they are there says that both are.
    names = [BEST, LAST] if best else [LAST]

    def commit() -> None:
        saver.note(state.step, results.record())

    results.save(objective, state.result, epoch, metrics, names, commit)
    log.pace.evaluated()


def _gradients_stay_here(model: nn.Module, *, unless: bool) -> AbstractContextManager[None]:
    """Gradients are averaged over the processes once per step, in its last pass."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) and not unless else nullcontext()


def _named(parts: Mapping[str, Tensor], values: list[list[float]]) -> dict[str, float]:
    """Each part's mean over some steps, where there is more than one."""
    means = {f"{PART}{name}": sum(row[at] for row in values) / len(values) for at, name in enumerate(parts)}
    return means if len(means) > 1 else {}


def _check_finite(values: list[list[float]], last_step: int, objective: Objective, plan: Plan) -> None:
    """`values` are the loss's parts and the gradient norm of the steps up to `last_step`."""
    for step, (*parts, norm) in enumerate(values, last_step - len(values) + 1):
        loss = sum(parts)
        if not (isfinite(loss) and isfinite(norm)):
            epoch, update = divmod(step - 1, plan.steps_per_epoch)
            names = objective.samples(epoch, update)
            where = f"step {step}" if plan.length else f"epoch {epoch + 1}, step {step}"
            raise TrainingDiverged(
                f"training diverged in {where}: the loss is {loss}, its gradients' norm {norm}; "
                f"lower the learning rate, warm up for longer, or train in fp32. The step's images: {listed(names, 8)}"
            )
