"""A budget for people: tables, and the files that hold it."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from gcvit.bench.budget import Budget, as_json, describe
from gcvit.bench.markdown import markdown_facts, markdown_table
from gcvit.bench.settings import BudgetConfig
from gcvit.bench.speed_files import digits
from gcvit.files import write_atomically

NOTES = (
    "least MB: with whole blocks fused, each map read and written once; floors: at the rate of a large matrix product "
    "and of a large copy on this machine; of floor: the larger floor's share of the time. Sums are of parts one after "
    "another."
)


def facts_of(config: BudgetConfig, budget: Budget) -> list[tuple[str, str]]:
    """What was measured on what, name and value."""
    height, width = config.sides
    rates = budget.rates
    return [
        ("measured", f"{budget.model}, batch {config.batch_size}, {height}×{width} px, {config.precision}"),
        *describe(config).items(),
        ("floors", f"{digits(rates.macs_per_second / 1e9)} GMAC/s, {digits(rates.bytes_per_second / 1e9)} GB/s"),
        ("time", f"{digits(budget.ms)} ms, of which {_share(budget.floor_ms, budget.ms)} are the floors'"),
    ]


def table(budget: Budget) -> tuple[list[str], list[list[str]]]:
    """The parts, then the whole; without times where parts cannot be told apart."""
    rows = [
        [
            line.place.where,
            line.place.part,
            f"{line.macs / 1e9:.2f}" if line.macs else "",
            f"{line.bytes / 1e6:.1f}" if line.bytes else "",
            f"{line.arithmetic_ms:.2f}" if line.macs else "",
            f"{line.memory_ms:.2f}" if line.bytes else "",
            "" if line.ms is None else f"{line.ms:.2f}",
            "" if line.ms is None or not line.bytes else _share(line.floor_ms, line.ms),
        ]
        for line in budget.lines
    ]
    total = [
        "whole",
        "",
        f"{sum(line.macs for line in budget.lines) / 1e9:.2f}",
        f"{sum(line.bytes for line in budget.lines) / 1e6:.1f}",
        f"{sum(line.arithmetic_ms for line in budget.lines):.2f}",
        f"{sum(line.memory_ms for line in budget.lines):.2f}",
        f"{budget.ms:.2f}",
        _share(budget.floor_ms, budget.ms),
    ]
    headings = ["where", "part", ">GMACs", ">least MB", ">arithmetic ms", ">memory ms", ">ms", ">of floor"]
    return headings, [*rows, total]


def kinds_table(budget: Budget) -> tuple[list[str], list[list[str]]]:
    """Kinds of operations, the longest first."""
    rows = [[kind, f"{share:.1%}", digits(share * budget.ms)] for kind, share in budget.kinds.items()]
    return ["operations", ">share", ">ms"], rows


def write(folder: Path, config: BudgetConfig, budget: Budget, command: Sequence[str]) -> list[Path]:
    """Write budget.json and budget.md into `folder`, which is made; returns their paths. command: what was typed."""
    folder.mkdir(parents=True, exist_ok=True)
    json_file, markdown_file = folder / "budget.json", folder / "budget.md"
    write_atomically(json_file, json.dumps(as_json(config, budget), indent=1).encode())
    tables = [markdown_table(*table(budget)), NOTES, markdown_table(*kinds_table(budget)) if budget.kinds else ""]
    parts = [f"# Budget of {budget.model}", markdown_facts(facts_of(config, budget)), *filter(None, tables)]
    write_atomically(markdown_file, ("\n\n".join(parts) + f"\n\n    {shlex.join(command)}\n").encode())
    return [json_file, markdown_file]


def _share(floor: float, ms: float) -> str:
    return f"{floor / ms:.0%}" if ms else ""
