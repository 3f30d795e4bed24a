"""How the commands speak: plain lines, tables, and the next command to type, within 80 columns."""

import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar
from unicodedata import category

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.progress import track as rich_track
from rich.table import Table

Item = TypeVar("Item")


def say(text: str = "") -> None:
    """Print one line to stdout as it is: no markup, no colours, paths never broken.

    What stdout cannot show, such as a file's name that is no valid text, is written as an escape, and so is what a
    terminal would obey.
    """
    print(_shown(text), flush=True)


def _shown(text: str) -> str:
    encoding = sys.stdout.encoding or "utf-8"
    return visible(text).encode(encoding, "backslashreplace").decode(encoding)


def visible(text: str) -> str:
    """Text that a terminal shows and does not obey: names in files may hold its control characters."""
    return "".join(
        repr(character)[1:-1] if category(character) == "Cc" and character not in "\n\t" else character
        for character in text
    )


def complain(text: str) -> None:
    """Report on stderr something that went wrong although the command goes on."""
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    console.print(f"gcvit: {visible(text)}", style="yellow")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under headings. A heading that starts with ">" is set to the right, as numbers are."""
    grid = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        right = column.startswith(">")
        grid.add_column(_shown(column.removeprefix(">")), justify="right" if right else "left")
    for row in rows:
        grid.add_row(*map(_shown, row))  # before rich measures them: an escape is wider
    # So wide that rich never breaks a name to fit it; the terminal wraps what is longer than its lines.
    console = Console(highlight=False, markup=False, width=1000)
    with console.capture() as drawn:
        console.print(grid)
    print("\n" + drawn.get().rstrip("\n"), flush=True)  # not by `say`: on a terminal the headings are bold


def track(items: Sequence[Item], what: str) -> Iterator[Item]:
    """The items in turn, with a bar and the time left on stderr when that is a terminal."""
    console = Console(stderr=True)
    return iter(rich_track(items, escape(what), console=console, transient=True, disable=not console.is_terminal))


@contextmanager
def counter(what: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Yields `progress(done, total)`: a bar on stderr when that is a terminal, elsewhere a line now and then."""
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True, quiet=quiet)
    if not console.is_terminal:
        yield _Lines(what, console)
        return
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task(escape(what))
        yield lambda done, total: progress.update(bar, completed=done, total=total)


class _Lines:
    """Progress for a file: a line every `EVERY` seconds."""

    EVERY = 20.0

    def __init__(self, what: str, console: Console) -> None:
        self.what, self.console, self.last = what, console, time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self.last >= self.EVERY:
            self.console.print(f"{self.what}: {done:,} of {total:,}")
            self.last = time.monotonic()


@contextmanager
def status() -> Iterator[Callable[[str], None]]:
    """Yields `progress(text)`, which says on stderr what is going on: in one place on a terminal, else in lines."""
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    if not console.is_terminal:
        yield console.print
        return
    with console.status("starting") as spinner:
        yield lambda text: spinner.update(escape(text))


def per_class(shares: Mapping[str, float], worst: int = 10) -> None:
    """Table of the classes with the lowest top-1 shares, the lowest first."""
    ranked = sorted(shares.items(), key=lambda item: item[1])
    title = f"the {worst} worst of {len(ranked)} classes" if len(ranked) > worst else "classes, the worst first"
    table([title, ">top-1"], [[name, percent(share)] for name, share in ranked[:worst]])


def facts(pairs: Iterable[tuple[str, str]]) -> None:
    """Print "name  value" lines with the values aligned."""
    pairs = list(pairs)
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        say(f"{name:{width}}  {value}")


def next_steps(*commands: Sequence[object]) -> None:
    """Print commands, each given as its words, ready to be copied."""
    say("\nNext:")
    for command in commands:
        say("  " + shlex.join(str(word) for word in command))


def count(value: float) -> str:
    """A count with its unit: 28_234_000 → "28.2 M"."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.{1 if value < 100 * size else 0}f} {unit}"
    return f"{value:.0f}"


def percent(share: float) -> str:
    """A share of one as a percentage: 0.8341 → "83.4%"."""
    return f"{100 * share:.1f}%"
