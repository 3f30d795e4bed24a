"""A budget for people: tables, and the files that hold it."""

from collections.abc import Sequence
from pathlib import Path

from gcvit.bench.budget import Budget, as_json
from gcvit.bench.report import Grid, Page, digits, machine
from gcvit.bench.settings import BudgetConfig
from gcvit.engine.device import resolve_device
from gcvit.files import write_atomically, write_json

NOTES = (
    "least MB: whole blocks fused, each map read and written once; arithmetic and",
    "memory ms: the least at this machine's rates of large products and of large",
    "copies; of floor: the larger of the two as a share of the time. Sums are of",
    "parts one after another.",
)


def page(config: BudgetConfig, budget: Budget) -> Page:
    """The parts, then the whole, without times where parts cannot be told apart; and kinds of operations, the longest
    first."""
    height, width = config.sides
    rates, lines = budget.rates, budget.lines
    facts = [
        ("measured", f"{budget.model}, batch {config.batch_size}, {height}×{width} px, {config.precision}"),
        *machine(resolve_device(config.device), config.threads).items(),
        ("floors", f"{digits(rates.macs_per_second / 1e9)} GMAC/s, {digits(rates.bytes_per_second / 1e9)} GB/s"),
        ("time", f"{digits(budget.ms)} ms, of which {_share(budget.floor_ms, budget.ms)} are the floors'"),
    ]
    rows = [
        [
            *line.place,
            f"{line.macs / 1e9:.2f}" if line.macs else "",
            f"{line.bytes / 1e6:.1f}" if line.bytes else "",
            f"{line.arithmetic_ms:.2f}" if line.macs else "",
            f"{line.memory_ms:.2f}" if line.bytes else "",
            "" if line.ms is None else f"{line.ms:.2f}",
            "" if line.ms is None or not line.bytes else _share(line.floor_ms, line.ms),
        ]
        for line in lines
    ]
    total = [
        "whole",
        "",
        f"{sum(line.macs for line in lines) / 1e9:.2f}",
        f"{sum(line.bytes for line in lines) / 1e6:.1f}",
        f"{sum(line.arithmetic_ms for line in lines):.2f}",
        f"{sum(line.memory_ms for line in lines):.2f}",
        f"{budget.ms:.2f}",
        _share(budget.floor_ms, budget.ms),
    ]
    headings = ["where", "part", ">GMACs", ">least MB", ">arithmetic ms", ">memory ms", ">ms", ">of floor"]
    kinds = [[kind, f"{share:.1%}", digits(share * budget.ms)] for kind, share in budget.kinds.items()]
    tables = [Grid("", headings, [*rows, total]), Grid("", ["operations", ">share", ">ms"], kinds)]
    return Page(f"Budget of {budget.model}", tables if kinds else tables[:1], NOTES, facts)


def write(folder: Path, config: BudgetConfig, budget: Budget, command: Sequence[str]) -> list[Path]:
    """Write budget.json and budget.md into `folder`, which is made; returns their paths. command: what was typed."""
    folder.mkdir(parents=True, exist_ok=True)
    json_file, markdown_file = folder / "budget.json", folder / "budget.md"
    write_json(json_file, as_json(config, budget))
    write_atomically(markdown_file, page(config, budget).markdown(command).encode())
    return [json_file, markdown_file]


def _share(floor: float, ms: float) -> str:
    return f"{floor / ms:.0%}" if ms else ""
