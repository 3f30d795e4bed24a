"""How the commands speak: plain lines, tables, and the next command to type, within 80 columns."""

import shlex
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table


def say(text: str = "") -> None:
    """Print one line to stdout as it is: no markup, no colours, paths never broken."""
    print(text, flush=True)


def complain(text: str) -> None:
    """Report on stderr something that went wrong although the command goes on."""
    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(f"gcvit: {text}", style="yellow")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None) -> None:
    """Print rows under headings. A heading that starts with ">" is set to the right, as numbers are."""
    grid = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for column in columns:
        right = column.startswith(">")
        grid.add_column(column.removeprefix(">"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*row)
    Console(highlight=False, markup=False).print(grid)


def facts(pairs: Iterable[tuple[str, str]]) -> None:
    """Print "name  value" lines with the values aligned."""
    pairs = list(pairs)
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        say(f"{name:{width}}  {value}")


def next_steps(*commands: Sequence[object]) -> None:
    """Print commands, each given as its words, ready to be copied."""
    say()
    say("Next:")
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
