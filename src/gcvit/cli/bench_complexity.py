"""`gcvit bench complexity`: appendix F, Eq. 7 against counts, and growth over the image's size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import OmitArgPrefixes

from gcvit.bench.settings import ComplexityConfig
from gcvit.cli.arguments import parse
from gcvit.cli.output import facts, next_steps, say, status, table, write_data, write_figure
from gcvit.files import require_folder

if TYPE_CHECKING:
    from gcvit.bench.complexity import Growth, StageCost


@dataclass(frozen=True)
class Complexity:
    """Eq. 7 of the paper against counted multiply-adds, and how GC ViT, Swin and ViT grow with the image."""

    out: Path | None = None
    """a folder for complexity.json and pictures, complexity.png and .svg"""
    settings: OmitArgPrefixes[ComplexityConfig] = field(default_factory=ComplexityConfig)


def run(argv: Sequence[str]) -> None:
    """Count, measure if asked to, and show."""
    arguments = parse(Complexity, "bench complexity", argv)
    from gcvit.bench.complexity import growths, stage_costs
    from gcvit.bench.report import machine
    from gcvit.engine.device import resolve_device

    device = resolve_device(arguments.settings.device)
    if arguments.out is not None:
        require_folder(arguments.out)
    with status() as progress:
        progress("counting attention")
        costs = stage_costs(arguments.settings)
        found = growths(arguments.settings, progress)
    own = min(arguments.settings.sizes, key=lambda size: abs(size - 224))
    say(f"Attention of {arguments.settings.model} at {own} px, 1e6 multiply-adds")
    table(["stage", ">Eq. 7", ">by kind", ">counted"], [_stage(cost) for cost in costs if cost.size == own])
    differing = sum(cost.by_kind != cost.counted for cost in costs)
    sizes = len({cost.size for cost in costs})
    say(f"\nby kind: Eq. 7 for local blocks, HW(3C² + 2hwC) for global ones; the count differs in {differing} of")
    say(f"{len(costs)} stages at {sizes} sizes, padding counted")
    table(["", ">per pixel", ">off the line", ">elsewhere", ">exponent"], [_growth(growth) for growth in found])
    few = "that fits all sizes best, for there are no two multiples of 224 px"
    fitted = {0: few, 1: few, 2: "through the two multiples of 224 px"}
    line = fitted.get(found[0].multiples, "that fits multiples of 224 px best")
    say(f"\nper pixel: multiply-adds, of the line {line};")
    say("off the line: the farthest of these; elsewhere: of other sizes, with padding;")
    say("exponent: of pixels, 1 is linear")
    if any(growth.measured for growth in found):
        table(["", ">px", ">ms", ">peak MB"], [row for growth in found for row in _spent(growth)])
        say()
        facts(machine(device).items())
    if arguments.out is not None:
        _write(arguments.out, arguments.settings, costs, found)
    again = ["gcvit", "bench", "complexity", "--measured-up-to", 896, "--out", "complexity"]
    next_steps(again, ["gcvit", "tables", "context"])


def _stage(cost: StageCost) -> list[str]:
    return [str(cost.stage + 1), *(f"{n / 1e6:,.1f}" for n in (cost.equation_7, cost.by_kind, cost.counted))]


def _growth(growth: Growth) -> list[str]:
    return [
        growth.name,
        f"{growth.line[0]:,.0f}",
        _share(growth.residual),
        "" if growth.elsewhere is None else _share(growth.elsewhere),
        f"{growth.exponent:.2f}",
    ]


def _share(share: float) -> str:
    return "no line" if abs(share) > 1 else f"{round(share, 3) + 0.0:+.1%}"  # no minus before a zero


def _spent(growth: Growth) -> list[list[str]]:
    rows = []
    for spent in growth.measured:
        held = "" if spent.peak_bytes is None else f"{spent.peak_bytes / 1e6:,.0f}"
        rows.append([growth.name, str(spent.size), f"{spent.milliseconds:,.0f}", held])
    return rows


def _write(folder: Path, settings: ComplexityConfig, costs: Sequence[StageCost], found: Sequence[Growth]) -> None:
    from gcvit.bench.complexity_figure import draw
    from gcvit.bench.report import machine
    from gcvit.engine.device import resolve_device

    content = {
        "settings": asdict(settings),
        "machine": machine(resolve_device(settings.device)),
        "attention": [asdict(cost) for cost in costs],
        "growth": [asdict(g) | {"line": g.line, "residual": g.residual, "exponent": g.exponent} for g in found],
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_data(content, folder / "complexity.json")
    write_figure(draw(found), folder / "complexity")
