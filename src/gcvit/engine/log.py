"""What a run says while it runs: a line of JSON per event, and progress for the person who waits."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO, TypeVar

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn
from rich.table import Column
from rich.text import Text

from gcvit import distributed
from gcvit.engine.pace import SURE_AFTER, Pace, clock
from gcvit.errors import UserError
from gcvit.shell import as_typed, install
from gcvit.wording import harmless, listed, rate

Item = TypeVar("Item")

PART = "loss_"  # before the names of the loss's parts
PLAIN_EVERY = 20.0  # seconds between lines of progress when the output is not a terminal


class RunLog:
    """Appends events to a JSONL file and shows them: a progress bar on a terminal, plain lines elsewhere.

    Every line is an object with `event` ("start", "resume", "steps", "evaluation", "end", …), `time` (Unix seconds) and
    the event's own values, written through at once. A context manager; progress goes to stderr. Among several
    processes only rank 0 writes and shows.

    epochs: of the run; None for one that is counted in steps alone.
    tensorboard: also write the curves into `tensorboard/` beside the file. Raises UserError when it is not installed.
    """

    def __init__(
        self, path: Path, *, epochs: int | None, steps: int, tensorboard: bool = False, console: Console | None = None
    ) -> None:
        self.epochs, self.total_steps = epochs, steps
        self.images, self.seconds = 0, 0.0  # of training alone
        self.quiet = not distributed.is_main()
        self.console = console or Console(stderr=True, highlight=False, markup=False, soft_wrap=True, quiet=self.quiet)
        self._file = None if self.quiet else _open_at_line_start(path)
        self._board = _open_board(path.parent / "tensorboard") if tensorboard and not self.quiet else None
        self.pace = Pace(steps)
        self._progress: Progress | None = None
        self._where = self._values = self._score = ""
        self._short: set[str] = set()  # what is known to be done sooner than the next plain line
        self._last_line = time.monotonic()

    def __enter__(self) -> "RunLog":
        if self.console.is_terminal and not self.quiet:
            self._progress = Progress(
                TextColumn("{task.description}", table_column=Column(no_wrap=True)),
                BarColumn(bar_width=10),
                TaskProgressColumn(table_column=Column(no_wrap=True)),
                _Told(lambda task: task.fields["values"], Column()),  # the only one that gives way on a narrow screen
                _Told(lambda task: clock(task.elapsed or 0), Column(no_wrap=True)),
                _Told(lambda task: self.left if task.id == self._bar else "", Column(no_wrap=True)),
                console=self.console,
            )
            self._bar = self._progress.add_task("starting", total=self.total_steps, values="")
            self._progress.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._progress is not None:
            self._progress.stop()
        if error is not None:
            with suppress(OSError):  # on a full disk, why the run ended matters more than that it is in the log
                self.event("end", error=f"{type(error).__name__}: {error}")
        if self._file is not None:
            with suppress(OSError):  # every event was flushed; what is left is of one that could not be written
                self._file.close()
        if self._board is not None:
            self._board.close()

    def event(self, event: str, /, **values: Any) -> dict[str, Any]:
        """Append one line to the file; returns what is in it."""
        told = {"event": event, "time": round(time.time(), 3), **values}
        line = json.dumps(told, allow_nan=False)
        if self._file is not None:
            try:
                self._file.write(line + "\n")
                self._file.flush()
            except OSError as error:  # that of a full disk names no file
                raise OSError(error.errno, error.strerror, self._file.name) from error
        return told

    def say(self, text: str) -> None:
        """Show one line to the person, above the progress bar."""
        self.console.print(harmless(as_typed(text), keep=""))

    def track(self, title: str, total: int, items: Iterable[Item]) -> Iterator[Item]:
        """Pass `items` on while showing how many of `total` are done."""
        if self._progress is None:
            self.say(f"{title}: {total:,}")
            yield from items
            return
        bar = self._progress.add_task(title, total=total, values="")
        for item in items:
            yield item
            self._progress.advance(bar)
        self._progress.remove_task(bar)

    def step(self, step: int, epoch: int) -> None:
        """Show that `step` steps (counted from 1) are done; their values come later, with `steps`."""
        self.pace.stepped(step)
        self._where = self._at(step, epoch)
        if self._progress is not None:
            self._progress.update(self._bar, completed=step, description=self._where, values=self._values)
        elif time.monotonic() - self._last_line >= PLAIN_EVERY:
            at = f"step {step}/{self.total_steps}" if self.epochs else ""
            self.say("  ".join(filter(None, [self._where, at, self._values, self.left])))
            self._last_line = time.monotonic()

    def steps(self, step: int, epoch: int, *, images: int, seconds: float, loss: float, **values: float) -> None:
        """Report the steps up to `step`, which took `seconds` for `images`, and their values."""
        self.images += images
        self.seconds += seconds
        speed = images / seconds
        measured = {"loss": loss, **values, "images_per_second": speed, "memory_gib": _memory() / 2**30}
        self.event("steps", step=step, epoch=epoch, **{name: _short(value) for name, value in measured.items()})
        if self._board is not None:
            for name, value in measured.items():
                self._board.add_scalar(f"train/{name}", value, step)
        parts = [f"{name.removeprefix(PART)} {value:.3f}" for name, value in values.items() if name.startswith(PART)]
        told = f"loss {loss:.3f}{f' ({listed(parts)})' if parts else ''}"
        self._values = f"{told}{self._score}  {rate(speed)} images/s  {_memory() / 2**30:.1f} GiB"
        self.step(step, epoch)

    def _at(self, step: int, epoch: int) -> str:
        return f"epoch {epoch}/{self.epochs}" if self.epochs else f"step {step}/{self.total_steps}"

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Show `what` is done meanwhile, such as "saving": on a terminal always, elsewhere if it may take a while."""
        start = time.monotonic()
        self.stage(what)
        yield
        if time.monotonic() - start < PLAIN_EVERY:
            self._short.add(what)
        if self._progress is not None:
            self._progress.update(self._bar, description=self._where)

    def stage(self, what: str) -> None:
        """Show `what` is done from now on, until something else is shown."""
        where = f"{self._where}: {what}" if self._where else what
        if self._progress is not None:
            self._progress.update(self._bar, description=where)
        elif what not in self._short:
            self.say(where)

    @property
    def left(self) -> str:
        """The time left of the run, in words; nothing before it is known."""
        return self.pace.left(SURE_AFTER)

    def evaluation(
        self, epoch: int, metrics: Mapping[str, float | None], *, step: int, best: bool, seconds: float
    ) -> dict[str, Any]:
        """Report the metrics after an epoch, at its last step; the first is the one to watch. Returns the event."""
        rounded = {name: None if value is None else _short(value) for name, value in metrics.items()}
        known = {name: value for name, value in metrics.items() if value is not None}
        told = self.event("evaluation", epoch=epoch, step=step, best=best, seconds=_short(seconds), **rounded)
        if self._board is not None:
            for name, value in known.items():
                self._board.add_scalar(f"held-out/{name}", value, step)
        first = next(iter(known))
        self._score = f"  {first} {known[first]:.3f}"
        shown = "  ".join(f"{name} {'–' if value is None else f'{value:.4f}'}" for name, value in metrics.items())
        self.say(f"{self._at(step, epoch)}  held-out: {shown}{'  (best)' if best else ''}")
        return told


def read_log(path: Path) -> list[dict[str, Any]]:
    """The events of a log, without what a run did again after it went on from an earlier step, and without lines that
    are damaged, such as a last one that was cut off in the middle. Of a log that is not there: none."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    kept: list[dict[str, Any]] = []
    for line in lines[:-1]:
        event = _event(line)
        if event is None:
            continue
        if event["event"] == "resume":
            kept = [past for past in kept if not _is_after(past, event)]
        kept.append(event)
    return kept


def _event(line: bytes) -> dict[str, Any] | None:
    """The event of a line; None for one that is damaged."""
    try:
        event = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return None
    numbers = {
        "steps": ("step", "epoch", "loss", "images_per_second"),
        "evaluation": ("step", "epoch"),
        "resume": ("step", "evaluated"),
    }.get(event["event"], ())
    return event if all(is_drawable(event.get(name)) for name in ("time", *numbers)) else None


def is_drawable(value: object) -> bool:
    """Whether a value from a file is a number that can be drawn."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e300 < value < 1e300


def _is_after(event: dict[str, Any], resume: dict[str, Any]) -> bool:
    """Whether steps were taken, or an evaluation made, that the run does not know of any more."""
    if event["event"] == "steps":
        return event["step"] > resume["step"]
    return event["event"] == "evaluation" and event["epoch"] > resume["evaluated"]


def _open_at_line_start(path: Path) -> TextIO:
    """Open for appending; a line that was cut off in the middle is ended first."""
    file = path.open("a+", encoding="utf-8")
    if file.tell() and not path.read_bytes().endswith(b"\n"):
        file.write("\n")
    return file


def _open_board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError(f"TensorBoard is not installed ({error}); {install('tensorboard')}") from error
    return SummaryWriter(str(folder))


def _memory() -> float:
    """The most bytes that this process has held: on the GPU where it uses one, else in main memory."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    import resource  # not on Windows, where only training fails for it

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _short(value: float) -> float:
    return float(f"{value:.6g}")


class _Told(ProgressColumn):
    """A text as it is at the moment, cut off where there is no room."""

    def __init__(self, tell: Callable[[Task], str], column: Column) -> None:
        super().__init__(column)
        self._tell = tell

    def render(self, task: Task) -> Text:
        return Text(self._tell(task), no_wrap=True, overflow="ellipsis")
