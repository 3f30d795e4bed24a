"""What a run says while it runs: a line of JSON per event, and progress for the person who waits."""

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO, TypeVar

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from gcvit import distributed

Item = TypeVar("Item")

PLAIN_EVERY = 20.0  # seconds between lines of progress when the output is not a terminal
SURE_AFTER = 10.0  # seconds of progress before the time left is shown


class RunLog:
    """Appends events to a JSONL file and shows them: a progress bar on a terminal, plain lines elsewhere.

    Every line is an object with `event` ("start", "resume", "steps", "evaluation", "end", …), `time` (Unix seconds) and
    the event's own values, written through at once. A context manager; progress goes to stderr. Among several
    processes only rank 0 writes and shows.

    epochs: of the run; None for one that is counted in steps alone.
    tensorboard: also write the curves into `tensorboard/` beside the file. Raises ValueError when it is not installed.
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
        self._progress: Progress | None = None
        self._score = ""
        self._first: tuple[float, int] | None = None  # when and at which step the rate of progress was first known
        self._last_line = time.monotonic()

    def __enter__(self) -> "RunLog":
        if self.console.is_terminal and not self.quiet:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=20),
                TaskProgressColumn(),
                TextColumn("{task.fields[values]}"),
                TimeElapsedColumn(),
                TextColumn("{task.fields[left]}"),
                console=self.console,
            )
            self._bar = self._progress.add_task("starting", total=self.total_steps, values="", left="")
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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

    def event(self, event: str, /, **values: Any) -> None:
        """Append one line to the file."""
        line = json.dumps({"event": event, "time": round(time.time(), 3), **values}, allow_nan=False)
        if self._file is not None:
            try:
                self._file.write(line + "\n")
                self._file.flush()
            except OSError as error:  # that of a full disk names no file
                raise OSError(error.errno, error.strerror, self._file.name) from error

    def say(self, text: str) -> None:
        """Show one line to the person, above the progress bar."""
        self.console.print(text)

    def track(self, title: str, total: int, items: Iterable[Item]) -> Iterator[Item]:
        """Pass `items` on while showing how many of `total` are done."""
        if self._progress is None:
            self.say(f"{title}: {total:,}")
            yield from items
            return
        bar = self._progress.add_task(title, total=total, values="", left="")
        for item in items:
            yield item
            self._progress.advance(bar)
        self._progress.remove_task(bar)

    def steps(self, step: int, epoch: int, *, images: int, seconds: float, loss: float, **values: float) -> None:
        """Report the steps up to `step` (counted from 1), which took `seconds` for `images`, and their values."""
        self.images += images
        self.seconds += seconds
        speed = images / seconds
        measured = {"loss": loss, **values, "images_per_second": speed, "memory_gib": _memory() / 2**30}
        self.event("steps", step=step, epoch=epoch, **{name: _short(value) for name, value in measured.items()})
        if self._board is not None:
            for name, value in measured.items():
                self._board.add_scalar(f"train/{name}", value, step)
        now = time.monotonic()
        shown = f"loss {loss:.3f}{self._score}  {speed:,.0f} images/s  {_memory() / 2**30:.1f} GiB"
        left = _left(self._first, (now, step), self.total_steps)
        if self._progress is not None:
            title = f"epoch {epoch}/{self.epochs}" if self.epochs else f"step {step}/{self.total_steps}"
            self._progress.update(self._bar, completed=step, description=title, values=shown, left=left)
        elif now - self._last_line >= PLAIN_EVERY:
            where = f"epoch {epoch}/{self.epochs}  " if self.epochs else ""
            self.say("  ".join(filter(None, [f"{where}step {step}/{self.total_steps}", shown, left])))
            self._last_line = now
        self._first = self._first or (now, step)

    def evaluation(self, epoch: int, metrics: Mapping[str, float], *, step: int, best: bool, seconds: float) -> None:
        """Report the metrics after an epoch, at its last step; the first is the one to watch."""
        rounded = {name: _short(value) for name, value in metrics.items()}
        self.event("evaluation", epoch=epoch, step=step, best=best, seconds=_short(seconds), **rounded)
        if self._board is not None:
            for name, value in metrics.items():
                self._board.add_scalar(f"held-out/{name}", value, step)
        first = next(iter(metrics))
        self._score = f"  {first} {metrics[first]:.3f}"
        shown = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        where = f"epoch {epoch}/{self.epochs}" if self.epochs else f"step {step}/{self.total_steps}"
        self.say(f"{where}  held-out: {shown}{'  (best)' if best else ''}")


def read_log(path: Path) -> list[dict[str, Any]]:
    """The events of a log, without what a run did again after it went on from an earlier step, and without a last line
    that was cut off in the middle."""
    lines = path.read_text(encoding="utf-8").split("\n")
    kept: list[dict[str, Any]] = []
    for line in lines[:-1]:
        try:
            event = json.loads(line)
        except ValueError:  # cut off when the run was killed, and ended since
            continue
        if event["event"] == "resume":
            kept = [past for past in kept if not _is_after(past, event)]
        kept.append(event)
    return kept


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
        raise ValueError(f"TensorBoard is not installed ({error}); pip install 'gcvit[tensorboard]'") from error
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


def _left(first: tuple[float, int] | None, now: tuple[float, int], steps: int) -> str:
    """The time left at the mean speed since `first`; nothing before that is known well enough."""
    if first is None or now[0] - first[0] < SURE_AFTER:
        return ""
    seconds = round((now[0] - first[0]) / (now[1] - first[1]) * (steps - now[1]))
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left"
