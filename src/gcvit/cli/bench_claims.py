"""`gcvit bench claims`: how far a block sees, and what travels between windows, tried on puzzles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

from tyro.conf import OmitArgPrefixes

from gcvit.bench.markdown import markdown_facts, markdown_table
from gcvit.bench.settings import ArmName, PuzzleBudget, PuzzleName
from gcvit.cli.arguments import parse
from gcvit.cli.output import facts, flags_of, longer, next_steps, say, status, table, write_figure, write_page
from gcvit.engine.fields import Range
from gcvit.errors import require

if TYPE_CHECKING:
    from gcvit.bench.claims import Line

SURE = 0.01


@dataclass(frozen=True)
class Claims:
    """Train one stage of each design (--long: four) on puzzles whose answer lies in another window, and compare.

    As it stands it takes 20 minutes of one core, and --steps, --dim and --batch-size make that hours of a GPU. Started
    again, it does what is left.
    """

    out: Path = Path("claims")
    """a folder for results.jsonl, a line a run, and for what is made of it: claims.md and pictures"""
    puzzles: tuple[PuzzleName, ...] = get_args(PuzzleName)
    """name one of the target's own two blobs; a far colour where there are blobs; the same where there is nothing"""
    arms: tuple[ArmName, ...] = get_args(ArmName)
    """what the blocks attend with"""
    seeds: Annotated[int, Range(1, 1000)] = 3
    """runs of each arm on each puzzle"""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda or cuda:N"""
    budget: OmitArgPrefixes[PuzzleBudget] = field(default_factory=PuzzleBudget)

    def __post_init__(self) -> None:
        """Raises UserError for no puzzle and for no arm. What is named twice is meant once."""
        for name in ("puzzles", "arms"):
            object.__setattr__(self, name, tuple(dict.fromkeys(getattr(self, name))))
            require(len(getattr(self, name)) > 0, f"--{name}", getattr(self, name), "at least one")


def run(argv: Sequence[str]) -> None:
    """Train what is left, and show all that is in the results."""
    arguments = parse(Claims, "bench claims", argv)
    from gcvit.bench.claims import ARMS, RESULTS, lines, run_claims
    from gcvit.bench.puzzles import PUZZLES

    with status() as progress:
        rows = run_claims(
            arguments.out,
            arguments.budget,
            puzzles=arguments.puzzles,
            arms=arguments.arms,
            seeds=arguments.seeds,
            device=arguments.device,
            progress=progress,
        )
    found = lines(rows)
    for puzzle in dict.fromkeys(line.puzzle for line in found):
        say(f"\n{puzzle}: {PUZZLES[puzzle].asks}; chance {100 / PUZZLES[puzzle].answers:.0f}%")
        table(columns(), rows_of(found, puzzle))
    notes, arms = notes_of(rows), [(name, ARMS[name].does) for name in dict.fromkeys(line.arm for line in found)]
    say()
    for note in notes:
        say(note)
    facts(arms)
    write(arguments.out, found, ["\n".join(notes), markdown_facts(arms)])
    say(f"written: {arguments.out / RESULTS}")
    before = arguments.budget.steps
    more = replace(arguments.budget, steps=4 * before)
    again = replace(arguments, out=longer(arguments.out, before, 4 * before), budget=more)
    next_steps(["gcvit", "bench", "claims", *flags_of(again, Claims())], ["gcvit", "tables", "context"])


def notes_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was done, and how the tables are to be read."""
    from gcvit.bench.rows import machines

    made = rows[0]["budget"]
    stages = "four stages at 256 px" if made.get("long") else "one stage at 64 px"
    return [
        f"{made['steps']:,} steps of {made['batch_size']} pictures, peak rate {made['lr']:g}, width {made['dim']}, "
        f"{stages}; {made['scenes']} held-out scenes, each with every cue",
        f"on {machines(rows)}",
        f"accuracy in %, mean ± deviation over seeds; *: not chance, †: not the first arm's (p < {SURE:g},",
        "Student's t, uncorrected; no mark where all seeds are alike: the test goes by their deviation);",
        "bits: log2 of the answers less the cross-entropy",
    ]


def columns() -> list[str]:
    """Headings of the table of a puzzle."""
    from gcvit.bench.puzzles import DISTANCES

    away = (f">{distance} window{'s' * (distance > 1)} away" for distance in DISTANCES)
    return ["arm", ">parameters", ">MMACs", ">seeds", *away, ">bits"]


def rows_of(found: Sequence[Line], puzzle: str) -> list[list[str]]:
    """The table of one puzzle, a row an arm."""
    from gcvit.bench.claims import ARMS

    rows = []
    for arm in ARMS:
        own = [line for line in found if (line.puzzle, line.arm) == (puzzle, arm)]
        if own:
            size = [f"{own[0].parameters:,}", f"{own[0].macs / 1e6:.1f}", str(own[0].seeds)]
            bits = " ".join(f"{line.bits:z.2f}" for line in own)
            rows.append([arm, *size, *map(_accuracy, own), bits])
    return rows


def _accuracy(line: Line) -> str:
    spread = "" if line.deviation is None else f" ± {100 * line.deviation:.1f}"
    differs = [mark for mark, p in (("*", line.p), ("†", line.p_first)) if p is not None and p < SURE]
    return f"{100 * line.accuracy:.1f}{spread}{''.join(differs)}"


def write(folder: Path, found: Sequence[Line], notes: Sequence[str]) -> None:
    """claims.md, with every p value, and the figure."""
    from gcvit.bench.claims_figure import draw
    from gcvit.bench.puzzles import PUZZLES

    parts = []
    for puzzle in dict.fromkeys(line.puzzle for line in found):
        parts += [f"### {puzzle}: {PUZZLES[puzzle].asks}", markdown_table(columns(), rows_of(found, puzzle))]
    headings = ["puzzle", "arm", ">distance", ">accuracy", ">deviation", ">bits", ">p, chance", ">p, first arm"]
    full = []
    for line in found:
        figures = (line.accuracy, line.deviation, line.bits, line.p, line.p_first)
        full.append([line.puzzle, line.arm, str(line.distance), *map(_number, figures)])
    parts += [*notes, "### Every figure", markdown_table(headings, full)]
    write_page(parts, folder / "claims.md")
    write_figure(draw(found), folder / "claims")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:z.4f}"
