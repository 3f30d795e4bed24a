"""The rows of the paper's ablation tables, and of what the paper leaves open, by table."""

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from gcvit.bench import published
from gcvit.bench.published import Line
from gcvit.errors import UserError
from gcvit.tasks.ablations import ABLATIONS
from gcvit.wording import instead

TableName = Literal["4", "5", "S.2", "open"]
ABLATION_TABLES: dict[TableName, str] = {
    "4": "from Swin-T to GC ViT-T",
    "5": "downsamplers between the stages",
    "S.2": "what the generator's tokens are",
    "open": "what the paper leaves open",
}
PAPER = tuple(name for name in ABLATION_TABLES if not name.islower())  # those that it has
OURS = "gcvit_tiny"  # the last row of each table


def heading(number: str) -> str:
    """What a table is called; those that the paper does not have are of lower case."""
    return number if number.islower() else f"Table {number}"


def ablation_lines(table: TableName) -> list[Line]:
    """The rows of one of `ABLATION_TABLES`; what the paper does not have has no values."""
    if table == "5":
        return [Line(method, name, {"top-1": top1}, {"": "text"}) for method, name, top1 in published.TABLE_5]
    if table == "4":
        lines = list(published.scores(published.TABLE_4))
        extra = Line("  (the same, stage 3 with windows of 7)", "table_4_reparam_7", {}, {"": "ablation"})
        return [*lines[:3], extra, *lines[3:]]
    if table == "open":
        left_open = [name for name in ABLATIONS if name.startswith("open_")]
        lines = [Line(ABLATIONS[name].does, name, {}, {"": "ablation"}) for name in left_open]
        ends = {"table_4_downsampler": "local blocks only", OURS: "GC ViT-T"}
        first, last = (Line(method, name, {}, {"": "ablation"}) for name, method in ends.items())
        return [first, *lines, last]
    printed = {line.model: line for line in published.scores(published.TABLE_S2)}
    return [
        printed.get(name) or Line(f"  ({ABLATIONS[name].does})", name, {}, {"": "ablation"})
        for name in (*(name for name in ABLATIONS if name.startswith("table_s2_")), OURS)
    ]


def arms_of(tables: Sequence[TableName]) -> list[str]:
    """The rows of the tables, by name, each once, ours last."""
    names = dict.fromkeys(str(line.model) for table in tables for line in ablation_lines(table))
    return [*(name for name in names if name != OURS), OURS]


def tables_of(arms: Iterable[str]) -> set[TableName | None]:
    """The tables that these rows are trained for: of each the first that has it, and of ours, which all have, none."""
    return {next((table for table in ABLATION_TABLES if arm in arms_of([table])), None) for arm in {*arms} - {OURS}}


def check_arms(arms: Sequence[str], tables: Sequence[TableName]) -> None:
    """Raises UserError for one that is no row of these tables."""
    known = arms_of(tables)
    for arm in arms:
        if arm not in known:
            others = [table for table in get_args(TableName) if arm in arms_of([table])]
            way_out = f"add --tables {others[0]}" if others else instead(arm, known)
            raise UserError(f"no row of {', '.join(map(heading, tables))} is called {arm!r}; {way_out}")
