"""A run of training, whatever its task: its folder, and what happens to it between start and end."""

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from gcvit import distributed
from gcvit.data.images import ImageError
from gcvit.data.loading import LoadingFailed, why_loading_failed
from gcvit.engine.checkpoint import Saver, load_checkpoint, newest_checkpoint, versions
from gcvit.engine.config import save_config
from gcvit.engine.folder import LOG, RUNS, Resume, RunFolder, check_folder, open_run
from gcvit.engine.log import RunLog, is_drawable, read_log
from gcvit.engine.loop import Plan, fit
from gcvit.engine.mending import Trained, mend
from gcvit.engine.objective import Objective
from gcvit.engine.record import check_record, settings_of
from gcvit.engine.results import Results, saved_in
from gcvit.engine.settings import OptimConfig
from gcvit.engine.state import Layers, State
from gcvit.engine.stopping import Stopped, StopRequest
from gcvit.errors import UserError
from gcvit.files import require_folder
from gcvit.meta import CHECKPOINTS, CONFIG, last_results, newest_meta, read_meta


class Settings(Protocol):
    """What the engine reads of a run's configuration, a frozen dataclass.

    free: names of settings that a run which goes on may change, since the weights do not depend on them. places: of
    those that say where something lies, which may only have moved.
    """

    @property
    def free(self) -> tuple[str, ...]: ...
    @property
    def places(self) -> tuple[str, ...]: ...
    @property
    def optim(self) -> OptimConfig: ...
    @property
    def checkpoint_minutes(self) -> float: ...
    @property
    def keep_checkpoints(self) -> int: ...
    @property
    def tensorboard(self) -> bool: ...
    @property
    def workers(self) -> int: ...


class Run:
    """A run in its folder, from the moment that nothing speaks against it any more.

    Entered, it holds the folder's lock, its `log` is open, and SIGTERM, SIGUSR1 and Ctrl-C make it stop after a step.
    All ranks enter and call everything alike; rank 0 alone writes.

    out, name, resume, record: as for `open_run`.
    Attributes: path, log, results (best/ and last/), seconds (of training and its evaluations, so far).
    """

    def __init__(
        self, config: Settings, plan: Plan, record: Mapping[str, Any], out: str | Path | None, name: str, resume: Resume
    ) -> None:
        self.config, self.plan, self.record, self._moved = config, plan, record, resume == "moved"
        self._folder = self._open(out, name, resume)
        self.path, self.seconds = self._folder.path, 0.0
        epochs = None if plan.length else plan.epochs
        self.log = RunLog(self.path / LOG, epochs=epochs, steps=plan.steps, tensorboard=config.tensorboard)
        self.results = Results(self.path)
        self._stop = StopRequest()

    def __enter__(self) -> "Run":
        self.log.__enter__()
        self._stop.__enter__()
        return self

    def __exit__(self, *ended: Any) -> None:
        self._stop.__exit__(*ended)
        self.log.__exit__(*ended)

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
        for line in [*lines, on, *self._folder.notes, f"results go to {self.path}"]:
            self.log.say(line)

    def train(self, model: nn.Module, layers: Layers, objective: Objective) -> None:
        """Train `model` to the plan's last step, from the newest checkpoint where the run goes on, else from its start.

        Afterwards `results.best` is written, for all ranks. Raises what `fit` raises, and UserError for a checkpoint
        of another run.
        """
        state = State(model.to(self.plan.device), self.config.optim, layers)
        minutes, keep = self.config.checkpoint_minutes, self.config.keep_checkpoints
        saver = Saver(self.path / CHECKPOINTS, self.record, minutes=minutes, keep=keep)
        if self._folder.goes_on:
            self._go_on(state, objective, saver)
        distributed.on_main(lambda: save_config(self.config, self.path / CONFIG))  # with what has changed and may
        start = time.perf_counter()
        fit(state, objective, self.plan, self.log, self.results, saver, self._stop)
        self.seconds = time.perf_counter() - start
        mend(self.results, Trained(state, objective, self.plan, saver, self.plan.steps), self.log.say)
        self.log.pace.evaluate()
        self.log.stage("measuring best/, drawing the report")

    @property
    def images_per_second(self) -> float | None:
        """Of training alone, on all processes; None when there was nothing left to train."""
        return self.log.images / self.log.seconds if self.log.seconds else None

    def finish(self, **scores: float | None) -> None:
        """Log the end, with what was reached."""
        self.log.event("end", seconds=round(self.seconds, 1), **scores, best_epoch=self.results.best_epoch)

    @contextmanager
    def explaining(self, draw_curves: Callable[[], None], bad_image: str) -> Iterator[None]:
        """Whatever ends the run early: its curves are drawn first, and the error says what to do; about an image that
        cannot be read it says `bad_image`."""
        try:
            yield
        except (KeyboardInterrupt, Stopped, ValueError, RuntimeError, OSError, MemoryError) as end:
            with suppress(OSError, ValueError):  # why the run ended matters more than its curves
                draw_curves()
            if explained := self._explained(end, bad_image):
                raise explained from end
            raise

    def _open(self, out: str | Path | None, name: str, resume: Resume) -> RunFolder:
        """Rank 0 finds the folder, holds its lock and writes a new run's configuration; the others are told."""
        held: list[RunFolder] = []  # the lock stays with rank 0

        def open_here() -> tuple[Path, bool]:
            run = open_run(out, name, self.record, resume=resume, free=self.config.free)
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
            return UserError(f"{end}. {bad_image}")
        said = str(end) if isinstance(end, LoadingFailed) else why_loading_failed(end, self.config.workers)
        if said is not None:
            return UserError(f"{said}; the same command goes on from the last checkpoint in {folder}")
        return None

    def _go_on(self, state: State, objective: Objective, saver: Saver) -> None:
        """Put the state back to the newest whole checkpoint; where none was saved yet the run begins again."""
        plan, log, results = self.plan, self.log, self.results
        path = distributed.on_main(lambda: newest_checkpoint(saver.folder, log.say))
        if path is not None:
            meta = read_meta(path)
            for note in check_record(meta, saver.record, path, free=self.config.free, moved=self._moved):
                log.say(note)
            if "results" not in meta:
                raise UserError(
                    f"{path} was saved by an earlier version of gcvit, which did not record what is in best/ and "
                    f"last/; finish the run with that version, or train into another folder"
                )
            results.recall(meta["results"])
            later = distributed.on_main(lambda: last_results(saver.folder)) or meta["results"]
            trained = Trained(state, objective, plan, saver, meta["step"])
            mend(results, trained, log.say, saved_in(later))
            load_checkpoint(path, state)
        elif distributed.on_main(lambda: results.best.exists() or results.last.exists()):
            raise UserError(
                f"{self.path} has the weights of a run, best/ and last/, but no checkpoint to go on from; give another "
                f"folder, or move them away to begin again"
            )
        log.event("resume", step=state.step, evaluated=results.last_epoch, processes=plan.share.ranks)
        log.say(f"going on from step {state.step} of {plan.steps}" if path else "no checkpoint yet: starting again")


def run_events(folder: Path) -> list[dict[str, Any]]:
    """The events of the run in a folder, as its log has them, and its evaluations as its newest checkpoint knows them,
    whatever has happened to the log."""
    events = [event for event in read_log(folder / LOG) if event["event"] != "start" or _is_whole_start(event)]
    meta = newest_meta(folder / CHECKPOINTS)
    if meta is None or "results" not in meta:
        return events
    others = [event for event in events if event["event"] != "evaluation"]
    return sorted([*others, *meta["results"]["evaluations"]], key=lambda event: event["time"])


def _is_whole_start(event: Mapping[str, Any]) -> bool:
    numbers = all(is_drawable(event.get(name)) for name in ("parameters", "training_images", "processes"))
    texts = all(isinstance(event.get(name), str) for name in ("device", "precision"))
    return numbers and texts and isinstance(event.get("versions"), dict)


def check_out(config: Settings, out: str | Path | None, *, resume: Resume) -> Resume:
    """Refuse a folder that cannot take this run before anything is read; returns how the run may go on."""
    if distributed.restarted() and resume == "never":  # by torchrun, with the same words as at first
        resume = "auto"
    if out is None:
        distributed.on_main(lambda: require_folder(RUNS))
    else:
        distributed.on_main(lambda: check_folder(Path(out), settings_of(config), resume=resume, free=config.free))
    return resume
