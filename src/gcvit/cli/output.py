"""How the commands speak: plain lines, tables, and the next command to type, within 80 columns."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gcvit.engine.fields import flag
from gcvit.engine.pace import Pace
from gcvit.files import write_atomically, write_json
from gcvit.shell import as_typed, typed
from gcvit.wording import harmless

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console

    from gcvit.bench.report import Page
    from gcvit.tasks.evaluation import Table

Item = TypeVar("Item")
Study = TypeVar("Study", bound=Any)  # a command's arguments, with a folder `out` and a `budget` of steps
WORST = 10  # classes that are shown of many
EVERY = 20.0  # seconds between lines of progress, with the time left, where stderr is no terminal


def say(text: str = "") -> None:
    """Print one line to stdout as it is, after empty ones where it begins so: no markup, no colours, no path broken.

    What stdout cannot show, such as a file's name that is no valid text, is written as an escape, and so is what a
    terminal would obey: another line break, too.
    """
    line = text.lstrip("\n")
    print("\n" * (len(text) - len(line)) + _shown(line), flush=True)


def say_lines(text: str) -> None:
    """Print our own text of several lines."""
    for line in text.split("\n"):
        say(line)


def _shown(text: str) -> str:
    encoding = sys.stdout.encoding or "utf-8"
    return harmless(text, keep="").encode(encoding, "backslashreplace").decode(encoding)


def complain(text: str) -> None:
    """Report on stderr something that went wrong although the command goes on."""
    _for_remarks().print(f"gcvit: {harmless(as_typed(text), keep='')}", style="yellow")


def _for_remarks(*, quiet: bool = False) -> "Console":
    """stderr, where texts stay as they are."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, soft_wrap=True, quiet=quiet)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under headings. A heading that starts with ">" is set to the right, as numbers are."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as Grid

    grid = Grid(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
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
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import track as rich_track

    console = Console(stderr=True)
    what = escape(harmless(what, keep=""))
    return iter(rich_track(items, what, console=console, transient=True, disable=not console.is_terminal))


@contextmanager
def counter(what: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Yields `progress(done, total)`: a bar on stderr when that is a terminal, elsewhere a line now and then."""
    console, what = _for_remarks(quiet=quiet), harmless(what, keep="")
    if not console.is_terminal:
        pace, last = Pace(0), time.monotonic()

        def tell(done: int, total: int) -> None:
            nonlocal last
            pace.steps = total
            pace.stepped(done)
            if time.monotonic() - last >= EVERY:
                left = pace.left()
                console.print(f"{what}: {done:,} of {total:,}{left and f'; {left}'}")
                last = time.monotonic()

        yield tell
        return
    from rich.markup import escape
    from rich.progress import Progress

    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task(escape(what))
        yield lambda done, total: progress.update(bar, completed=done, total=total)


@contextmanager
def status() -> Iterator[Callable[[str], None]]:
    """Yields `progress(text)`, which says on stderr what is going on: in one place on a terminal, else in lines."""
    console = _for_remarks()
    if not console.is_terminal:
        yield lambda text: console.print(harmless(text, keep=""))
        return
    from rich.markup import escape

    with console.status("starting") as spinner:
        yield lambda text: spinner.update(escape(harmless(text, keep="")))


def worst(classes: "Table") -> None:
    """The first rows of a table that has the worst classes first, if there are any; all where two more would do."""
    if not classes.rows:
        return
    few = len(classes.rows) <= WORST + 2
    rows = classes.rows if few else classes.rows[:WORST]
    title = "classes, the worst first" if few else f"the {WORST} worst of {len(classes.rows)}"
    table([title, *classes.headings[1:]], rows)


def facts(pairs: Iterable[tuple[str, str]]) -> None:
    """Print "name  value" lines with the values aligned."""
    pairs = list(pairs)
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        say(f"{name:{width}}  {value}")


def show(page: "Page") -> None:
    """Print results: what was measured, the tables, how they are to be read, and what their names mean."""
    if page.facts:
        facts(page.facts)
    for title, columns, rows, shown in page.tables:
        if shown:
            if title:
                say(f"\n{title}")
            table(columns, rows)
    say()
    for note in page.notes:
        say(note)
    if page.meanings:
        facts(page.meanings)


def write_figure(figure: "Figure", stem: Path) -> None:
    """Write a figure for print as STEM.png and STEM.svg, and say so."""
    from gcvit.engine.figures import save_figure

    for path in (stem.with_suffix(".png"), stem.with_suffix(".svg")):
        save_figure(figure, path, dpi=220)
        say(f"written: {path}")


def write_data(content: object, path: Path) -> None:
    """Write JSON into a folder, which is made, and say so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)
    say(f"written: {path}")


def show_study(page: "Page", figure: "Figure | None", folder: Path, name: str) -> None:
    """Print a study's results, and write its page, NAME.md, and its figure beside their file in a folder."""
    from gcvit.bench.study import RESULTS

    show(page)
    path = folder / f"{name}.md"
    write_atomically(path, page.markdown().encode())
    say(f"written: {path}")
    if figure is not None:
        write_figure(figure, folder / name)
    say(f"written: {folder / RESULTS}")


def flags_of(settings: Any, usual: Any, **fields_of: str) -> list[object]:
    """The flags that say in what settings, a dataclass, differ from the usual ones, for a command that is printed.
    fields_of: fields by their flags, where the names differ."""
    names = {field: name for name, field in fields_of.items()}
    words: list[object] = []
    for one in fields(settings):
        value, before = getattr(settings, one.name), getattr(usual, one.name)
        if is_dataclass(value):
            words += flags_of(value, before)
        elif value != before:
            switched = value is True and before is False  # without a word behind it
            values = value if isinstance(value, tuple) else [] if switched else ["none" if value is None else value]
            words += [
                flag(names.get(one.name, one.name)),
                *(f"{word:.9g}" if isinstance(word, float) else word for word in values),
            ]
    return words


def longer(arguments: Study, before: int) -> Study:
    """The same study, whose runs had `before` steps, with four times as many, in a folder beside its own:
    ablations-2000 beside ablations, and ablations-8000 beside that."""
    out, steps = arguments.out, 4 * before
    named = out if out.name else out.absolute()  # the folder that one is in has none
    beside = Path(f"{str(named).removesuffix(f'-{before}')}-{steps}")
    return replace(arguments, out=beside, budget=replace(arguments.budget, steps=steps))


def next_steps(*commands: Sequence[object]) -> None:
    """Print commands, each given as its words, ready to be copied: they begin with `gcvit` as it can be called here."""
    say("\nNext:")
    for command in commands:
        say("  " + typed(command))
