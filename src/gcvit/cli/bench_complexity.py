"""`gcvit bench complexity`: appendix F, Eq. 7 against counts, and growth over the image's size."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import OmitArgPrefixes

from gcvit.bench.settings import ComplexityConfig
from gcvit.cli.arguments import parse
from gcvit.cli.output import next_steps, show, status, write_data, write_figure
from gcvit.files import require_folder


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
    from gcvit.bench.complexity_page import as_json, draw, page
    from gcvit.engine.device import resolve_device

    settings, out = arguments.settings, arguments.out
    resolve_device(settings.device)  # is there, before anything is counted
    if out is not None:
        require_folder(out)
    with status() as progress:
        progress("counting attention")
        costs = stage_costs(settings)
        found = growths(settings, progress)
    show(page(settings, costs, found))
    if out is not None:
        write_data(as_json(settings, costs, found), out / "complexity.json")
        write_figure(draw(found), out / "complexity")
    again = ["gcvit", "bench", "complexity", "--measured-up-to", 896, "--out", "complexity"]
    next_steps(again, ["gcvit", "tables", "context"])
