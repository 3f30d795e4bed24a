"""A run of training, whatever its task: its settings, its folder, and what happens to it between start and end."""

import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

import torch
from torch import nn

from gcvit import distributed
from gcvit.data.images import ImageError
from gcvit.engine.checkpoint import load_checkpoint, newest_checkpoint, read_meta
from gcvit.engine.config import as_dict, require, save_config
from gcvit.engine.device import Precision, resolve_device
from gcvit.engine.folder import CONFIG, Resume, RunFolder, check_folder, open_run
from gcvit.engine.log import RunLog
from gcvit.engine.loop import Plan, fit
from gcvit.engine.optim import Layers, OptimConfig
from gcvit.engine.record import check_record
from gcvit.engine.results import Results
from gcvit.engine.saving import Saver, versions
from gcvit.engine.state import State
from gcvit.engine.stopping import Stopped, StopRequest
from gcvit.engine.task import Task


@dataclass(frozen=True)
class RunConfig:
    """The settings that every task's run has."""

    batch_size: int = 128
    """Images per update of the weights, over all processes and passes."""
    accumulate: int = 1
    """Forward passes per update and process, which divide the batch; more of them need less memory."""
    checkpoint_minutes: float = 15.0
    """Minutes from one checkpoint to the next; an evaluation and a signal to stop save one in any case."""
    keep_checkpoints: int = 2
    """Checkpoints to go on from that are kept, the newest ones."""
    tensorboard: bool = False
    """Also write the curves for TensorBoard (the extra `tensorboard`)."""
    seed: int = 0
    """Same seed, same result on the same machine: exactly on the CPU, on a GPU up to rounding."""
    workers: int = 0
    """Processes that load images; 0: the training process itself. The result does not depend on it."""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda or cuda:N."""
    precision: Precision = "auto"
    """Of products in the forward pass; auto: bf16 on a GPU that has it, fp32 elsewhere."""
    compile: bool = False
    """Compile the model's blocks for training: slow to start, faster on a GPU."""

    optim: OptimConfig = field(default_factory=OptimConfig)

    # What a run that goes on may change without being another one. (Another number of passes mixes and drops other
    # things, as another device does, but keeps the order of the images.)
    FREE: ClassVar[tuple[str, ...]] = (
        *("workers", "device", "compile", "accumulate", "checkpoint_minutes", "keep_checkpoints", "tensorboard"),
    )

    def __post_init__(self) -> None:
        """Raises ValueError, naming the setting, for a value out of range."""
        for key in ("batch_size", "accumulate", "keep_checkpoints"):
            require(getattr(self, key) >= 1, key, getattr(self, key), "at least 1")
        for key in ("seed", "workers"):
            require(getattr(self, key) >= 0, key, getattr(self, key), "at least 0")
        require(self.checkpoint_minutes >= 0, "checkpoint_minutes", self.checkpoint_minutes, "at least 0")


def claim_device(config: RunConfig) -> torch.device:
    """This process's device, made the current one. Raises ValueError for one that is not here."""
    device = resolve_device(config.device)
    if device.index is not None:
        torch.cuda.set_device(device)
    return device


class Run:
    """A run in its folder, from the moment that nothing speaks against it any more.

    Entered, it holds the folder's lock, its `log` is open, and SIGTERM, SIGUSR1 and Ctrl-C make it stop after a step.
    All ranks enter and call everything alike; rank 0 alone writes.

    out, name, resume, free: as for `open_run`. record: of the run, as `record_of` gives it.
    Attributes: path, log, results (best/ and last/), seconds (of training and its evaluations, so far).
    """

    def __init__(
        self,
        config: RunConfig,
        plan: Plan,
        record: Mapping[str, Any],
        out: str | Path | None,
        name: str,
        *,
        resume: Resume,
        free: Collection[str],
    ) -> None:
        self.config, self.plan, self.record, self.free = config, plan, record, free
        self._folder = self._open(out, name, resume)
        self.path, self.seconds = self._folder.path, 0.0
        self.log = RunLog(
            self.path / "log.jsonl",
            epochs=None if plan.length else plan.epochs,
            steps=plan.steps,
            tensorboard=config.tensorboard,
        )
        self.results = Results(self.path)
        self._stop = StopRequest()

    def __enter__(self) -> "Run":
        self.log.__enter__()
        self._stop.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.__exit__(kind, error, trace)
        self.log.__exit__(kind, error, trace)

    def introduce(self, lines: Sequence[str], **facts: Any) -> None:
        """Say what begins, and log it together with `facts` of the task."""
        share = self.plan.share
        self.log.event(
            "start",
            versions=versions(),
            device=str(self.plan.device),
            precision=self.plan.precision,
            processes=share.ranks,
            steps=self.plan.steps,
            **facts,
        )
        where = f"{share.ranks} × {self.plan.device.type}" if share.ranks > 1 else str(self.plan.device)
        on = f"on {where} in {self.plan.precision}; {self.plan.optim.describe_lr(share.batch_size)}"
        for line in [*lines, on, f"results go to {self.path}"]:
            self.log.say(line)

    def train(self, model: nn.Module, layers: Layers, task: Task) -> None:
        """Train `model` to the plan's last step, from the newest checkpoint where the run goes on, else from its start.

        Afterwards `results.best` is written, for all ranks. Raises what `fit` raises, and ValueError for a checkpoint
        of another run.
        """
        state = State(model.to(self.plan.device), self.config.optim, layers)
        saver = Saver(
            self.path / "checkpoints",
            self.record,
            minutes=self.config.checkpoint_minutes,
            keep=self.config.keep_checkpoints,
        )
        if self._folder.goes_on:
            self._go_on(state, saver)
        distributed.on_main(lambda: save_config(self.config, self.path / CONFIG))  # with what has changed and may
        start = time.perf_counter()
        fit(state, task, self.plan, self.log, self.results, saver, self._stop)
        self.seconds = time.perf_counter() - start
        distributed.wait()  # for rank 0 to have written best/

    @property
    def images_per_second(self) -> float | None:
        """Of training alone, on all processes; None when there was nothing left to train."""
        return self.log.images / self.log.seconds if self.log.seconds else None

    def finish(self, **scores: float) -> None:
        """Log the end, with what was reached."""
        self.log.event("end", seconds=round(self.seconds, 1), **scores, best_epoch=self.results.best_epoch)

    @contextmanager
    def explaining(self, draw_curves: Callable[[], None], bad_image: str) -> Iterator[None]:
        """Whatever ends the run early: its curves are drawn first, and the error says what to do; about an image that
        cannot be read it says `bad_image`."""
        try:
            yield
        except (KeyboardInterrupt, Stopped, ValueError, RuntimeError, OSError) as end:
            with suppress(OSError, ValueError):  # why the run ended matters more than its curves
                draw_curves()
            if explained := self._explained(end, bad_image):
                raise explained from end
            raise

    def _open(self, out: str | Path | None, name: str, resume: Resume) -> RunFolder:
        """Rank 0 finds the folder, holds its lock and writes a new run's configuration; the others are told."""
        held: list[RunFolder] = []  # the lock stays with rank 0

        def open_here() -> tuple[Path, bool]:
            run = open_run(out, name, as_dict(self.config), resume=resume, free=self.free)
            if not run.goes_on:
                save_config(self.config, run.path / CONFIG)
            held.append(run)
            return run.path, run.goes_on

        found = distributed.on_main(open_here)
        return held[0] if held else RunFolder(*found)

    def _explained(self, end: BaseException, bad_image: str) -> BaseException | None:
        """What the run ends with, in words that say what to do; None for what says so itself."""
        folder, again = self.path, "the same command goes on from there"
        if isinstance(end, Stopped) and end.signal == signal.SIGINT:
            return KeyboardInterrupt(f"{folder}: {end}; {again}.")
        if isinstance(end, Stopped):
            return Stopped(f"{folder}: {end}; {again}.", end.signal)
        if isinstance(end, KeyboardInterrupt):
            return KeyboardInterrupt(f"{folder} holds what was saved before; the same command goes on from it.")
        if isinstance(end, ImageError):
            return ValueError(f"{end}. {bad_image}")
        if isinstance(end, RuntimeError) and "DataLoader worker" in str(end):
            return ValueError(
                f"a process that loads images has died ({end}): perhaps the machine ran out of memory. Lower workers "
                f"({self.config.workers}); the same command goes on from the last checkpoint in {folder}"
            )
        return None

    def _go_on(self, state: State, saver: Saver) -> None:
        """Put the state back to the newest whole checkpoint; where none was saved yet the run begins again."""
        plan, log, results = self.plan, self.log, self.results
        path = distributed.on_main(lambda: newest_checkpoint(saver.folder, log.say))
        if path is not None:
            for note in check_record(read_meta(path), saver.record, path, free=self.free):
                log.say(note)
            load_checkpoint(path, state)
        results.last_epoch = min(results.last_epoch, plan.epochs_done(state.step))  # later ones are made again
        log.event("resume", step=state.step, evaluated=results.last_epoch, processes=plan.share.ranks)
        log.say(f"going on from step {state.step} of {plan.steps}" if path else "no checkpoint yet: starting again")


def check_out(config: RunConfig, out: str | Path | None, *, resume: Resume, free: Collection[str]) -> Resume:
    """Refuse a folder that cannot take this run before anything is read; returns how the run may go on."""
    if distributed.restarted():  # by torchrun, with the same words as at first
        resume = "auto"
    if out is not None and distributed.is_main():
        check_folder(out, as_dict(config), resume=resume, free=free)
    return resume
