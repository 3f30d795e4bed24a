"""`gcvit tables`: the paper's tables, as published, as counted here, and as measured in runs of ours."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from gcvit.bench.settings import TABLES
from gcvit.cli.arguments import parse
from gcvit.cli.output import next_steps, say, say_lines, status, table
from gcvit.errors import UserError


@dataclass(frozen=True)
class Tables:
    """The paper's tables: each published figure with its source, beside what is counted here (minutes)."""

    names: Positional[tuple[str, ...]] = ()
    """which: 1 to 5, S.1 to S.4; open: what the paper leaves open; context: where attention reaches beyond its window;
    none: all"""
    format: Literal["terminal", "markdown", "latex", "csv"] = "terminal"
    """csv: a line for each figure; latex: for a document with booktabs"""
    runs: tuple[Path, ...] = ()
    """folders of runs whose scores stand beside the published ones, by model and ablation"""

    def __post_init__(self) -> None:
        """Raises UserError for a table that the paper does not have."""
        if unknown := [name for name in self.names if name not in TABLES]:
            raise UserError(f"there is no table {unknown[0]!r}; there are {', '.join(TABLES)}")


def run(argv: Sequence[str]) -> None:
    """Count and show."""
    arguments = parse(Tables, "tables", argv)
    from gcvit.bench.measured import measured_in
    from gcvit.bench.table_formats import FORMATS, wide
    from gcvit.bench.tables import build

    measured, remarks = measured_in(arguments.runs)
    with status() as progress:
        found = list(build(arguments.names or TABLES, measured, progress))
    if arguments.format != "terminal":
        say_lines(FORMATS[arguments.format](found))
        return
    for one in found:
        headings, rows, notes = wide(one)
        say(f"\n{one.name}: {one.title}")
        table(headings, rows)
        for note in [*notes, *remarks]:
            say(note)
    say("\ncounted: torch's multiply-adds, with heads the papers' counter; *: more than 1% apart")
    next_steps(
        ["gcvit", "tables", *arguments.names, "--format", "markdown"],
        ["gcvit", "train", "classify", "table_s2_kv", "--help"],
    )
