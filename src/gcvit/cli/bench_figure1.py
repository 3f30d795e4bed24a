"""`gcvit bench figure1`: accuracy against cost, as counted and as measured on this machine."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from gcvit.cli.arguments import parse
from gcvit.cli.output import facts, next_steps, say, status, table, write_data, write_figure
from gcvit.engine.fields import Range
from gcvit.files import require_folder


@dataclass(frozen=True)
class Figure1:
    """Top-1 of Table 1, as published, against multiply-adds and parameters; and against time and memory, measured."""

    out: Path = Path("figure1")
    """a folder for figure1.json, figure1.png and figure1.svg"""
    measure: bool = False
    """measure throughput and memory too, in fp32; some minutes"""
    device: str = "cpu"
    """where: auto, cpu, cuda or cuda:N"""
    batch_size: Annotated[int, Range(1, 65_536)] = 1
    """images at once, where it is measured"""
    threads: Annotated[int | None, Range(1, 1_024)] = None
    """CPU threads; none: as many as torch chooses"""


def run(argv: Sequence[str]) -> None:
    """Count, measure if asked to, draw."""
    arguments = parse(Figure1, "bench figure1", argv)
    from gcvit.bench.peak import Measuring
    from gcvit.bench.report import machine
    from gcvit.bench.tradeoff import COSTS, REPEATED, front, points
    from gcvit.bench.tradeoff_figure import draw
    from gcvit.engine.device import resolve_device

    device = resolve_device(arguments.device)
    require_folder(arguments.out)
    measuring = Measuring(arguments.device, arguments.batch_size, threads=arguments.threads)
    with status() as progress:
        found = points(progress, measuring if arguments.measure else None)
    costs = [cost for cost in COSTS if any(cost in point.costs for point in found)]
    rows = []
    for point in found:
        printed = "" if point.counted else "†"
        marks = [printed + ("*" if point in front(found, cost) else "") for cost in costs]
        figures = [f"{point.costs[c]:,.1f}{m}" if c in point.costs else "" for c, m in zip(costs, marks, strict=True)]
        rows.append([point.method, f"{point.top1:.1f}", *figures])
    table(["", ">top-1", *(f">{cost}" for cost in costs)], rows)
    say("\n*: on the Pareto front; †: as printed, since the model is not at hand to be counted;")
    say("top-1 as published by whom gcvit tables 1 says")
    say(f"{REPEATED} is left out: its row repeats CoAtNet-1's figures")
    about = machine(device)
    if arguments.measure:
        facts(about.items())
    content = {"machine": about, "measuring": asdict(measuring), "points": [asdict(point) for point in found]}
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_data(content, arguments.out / "figure1.json")
    write_figure(draw(found), arguments.out / "figure1")
    next_steps(["gcvit", "bench", "figure1", "--measure"], ["gcvit", "tables", "1"])
