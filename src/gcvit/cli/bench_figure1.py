"""`gcvit bench figure1`: accuracy against cost, as counted and as measured on this machine."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from gcvit.cli.arguments import parse
from gcvit.cli.output import next_steps, show, status, write_data, write_figure
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
    from gcvit.bench.tradeoff import as_json, draw, page, points
    from gcvit.engine.device import resolve_device

    device, out = resolve_device(arguments.device), arguments.out
    require_folder(out)
    measuring = Measuring(arguments.device, arguments.batch_size, threads=arguments.threads)
    with status() as progress:
        found = points(progress, measuring if arguments.measure else None)
    about = machine(device)
    show(page(found, [*about.items()] if arguments.measure else []))
    write_data(as_json(about, measuring, found), out / "figure1.json")
    write_figure(draw(found), out / "figure1")
    next_steps(["gcvit", "bench", "figure1", "--measure"], ["gcvit", "tables", "1"])
