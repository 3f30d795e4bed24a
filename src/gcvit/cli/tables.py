"""`gcvit tables`: the paper's tables, as published, as counted here, and as measured in runs of ours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from gcvit.bench.settings import TABLES
from gcvit.cli.arguments import parse
from gcvit.cli.output import complain, next_steps, say_lines, show, status
from gcvit.errors import UserError

KNOWN = {name.lower(): name for name in TABLES}
RECIPES = {"4": "table_4_swin", "5": "table_5_conv_pool", "S.2": "table_s2_kv", "S.3": "table_s3_32"}
RECIPES |= {"open": "open_windows_7"}
NEXT: Mapping[str, Sequence[str]] = {
    "1": ["bench", "figure1"],
    "2": ["train", "detect", "--list"],
    "3": ["train", "segment", "--list"],
    "S.1": ["info", "gcvit_tiny"],
    "S.4": ["bench", "figure1"],
    "context": ["bench", "complexity"],
    **{name: ["train", "classify", recipe, "--help"] for name, recipe in RECIPES.items()},
}


@dataclass(frozen=True)
class Tables:
    """The paper's tables: each published figure with its source, beside what is counted here (minutes)."""

    names: Annotated[Positional[tuple[str, ...]], arg(metavar=f"[{'|'.join(TABLES)} ...]")] = ()
    """which; open: what the paper leaves open; context: where attention reaches beyond its window; none: all"""
    format: Literal["terminal", "markdown", "latex", "csv"] = "terminal"
    """csv: a line for each figure; latex: for a document with booktabs and longtable"""
    runs: tuple[Path, ...] = ()
    """folders of runs whose scores stand beside the published ones, where a row has their architecture and heads"""

    def __post_init__(self) -> None:
        """Raises UserError for a table that the paper does not have."""
        if unknown := [name for name in self.names if name.lower() not in KNOWN]:
            raise UserError(f"there is no table {unknown[0]!r}; there are {', '.join(TABLES)}")


def run(argv: Sequence[str]) -> None:
    """Count and show."""
    arguments = parse(Tables, "tables", argv)
    from gcvit.bench.measured import measured_in
    from gcvit.bench.table_formats import FORMATS, page
    from gcvit.bench.tables import build

    asked = list(dict.fromkeys(KNOWN[name.lower()] for name in arguments.names))
    runs = measured_in(arguments.runs)
    with status() as progress:
        found = list(build(asked or TABLES, runs, progress))
    placed = {one for shown in found for one in shown.runs}
    for one in runs:
        if one not in placed:
            row = f"no row of this model{' with these heads' if one.heads else ''} has {next(iter(one.scores))}"
            why = row if one.rows else "no row has its architecture (all ablations are gcvit_tiny's)"
            complain(f"not in these tables: {one.folder}, {one.trained}: {why}")
    if arguments.format != "terminal":
        say_lines(FORMATS[arguments.format](found))
        return
    for shown in found:
        show(page(shown))
    given = ["--runs", *arguments.runs] if runs else []
    next_steps(["gcvit", "tables", *asked, *given, "--format", "markdown"], ["gcvit", *NEXT[found[0].number]])
