"""What a run says while it runs: a line of JSON per event, and progress for the person who waits."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Item = TypeVar("Item")

PLAIN_EVERY = 20.0  # seconds between lines of progress when the output is not a terminal


class RunLog:
    """Appends events to a JSONL file and shows them: a progress bar on a terminal, plain lines elsewhere.

    Every line is an object with `event` ("start", "steps", "evaluation", "end"), `time` (Unix seconds) and
    the event's own values, written through at once. A context manager; progress goes to stderr.
    """

    def __init__(self, path: Path, *, epochs: int, steps: int, console: Console | None = None) -> None:
        self.epochs, self.total_steps = epochs, steps
        self.images, self.seconds = 0, 0.0  # of training alone
        self.console = console or Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        self._file = path.open("a", encoding="utf-8")
        self._progress: Progress | None = None
        self._epoch = 0
        self._first: tuple[float, int] | None = None  # when and at which step the rate of progress was first known
        self._last_line = time.monotonic()

    def __enter__(self) -> "RunLog":
        if self.console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[values]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self.console,
            )
            self._bar = self._progress.add_task("starting", total=self.total_steps, values="")
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
        if error is not None:
            self.event("end", error=f"{type(error).__name__}: {error}")
        self._file.close()

    def event(self, event: str, /, **values: Any) -> None:
        """Append one line to the file."""
        line = json.dumps({"event": event, "time": round(time.time(), 3), **values}, allow_nan=False)
        self._file.write(line + "\n")
        self._file.flush()

    def say(self, text: str) -> None:
        """Show one line to the person, above the progress bar."""
        self.console.print(text)

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

    def steps(self, step: int, epoch: int, *, images: int, seconds: float, loss: float, **values: float) -> None:
        """Report the steps up to `step` (counted from 1), which took `seconds` for `images`, and their values."""
        self.images += images
        self.seconds += seconds
        speed = images / seconds
        measured = {"loss": loss, **values, "images_per_second": speed}
        self.event("steps", step=step, epoch=epoch, **{name: _short(value) for name, value in measured.items()})
        now = time.monotonic()
        shown = f"loss {loss:.3f}  {speed:,.0f} images/s"
        if self._progress is not None:
            title = f"epoch {epoch}/{self.epochs}"
            self._progress.update(self._bar, completed=step, description=title, values=shown)
        elif now - self._last_line >= PLAIN_EVERY:
            left = _left(self._first, (now, step), self.total_steps)
            self.say(f"epoch {epoch}/{self.epochs}  step {step}/{self.total_steps}  {shown}{left}")
            self._last_line = now
        self._first = self._first or (now, step)

    def evaluation(self, epoch: int, metrics: Mapping[str, float], *, best: bool, seconds: float) -> None:
        """Report the metrics after an epoch."""
        rounded = {name: _short(value) for name, value in metrics.items()}
        self.event("evaluation", epoch=epoch, best=best, seconds=_short(seconds), **rounded)
        shown = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        self.say(f"epoch {epoch}/{self.epochs}  held-out: {shown}{'  (best)' if best else ''}")


def read_log(path: Path) -> list[dict[str, Any]]:
    """The events of a log. A last line that was cut off in the middle is left out."""
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1]]


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def _left(first: tuple[float, int] | None, now: tuple[float, int], steps: int) -> str:
    if first is None or now[1] == first[1]:
        return ""
    seconds = round((now[0] - first[0]) / (now[1] - first[1]) * (steps - now[1]))
    return f"  {seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left"
