"""`gcvit bench budget`: what a model has to compute and to move on this machine, and where its time goes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import OmitArgPrefixes, Positional

from gcvit.bench.settings import BudgetConfig
from gcvit.cli.arguments import parse
from gcvit.cli.output import next_steps, say, show, status
from gcvit.files import require_folder


@dataclass(frozen=True)
class Arguments:
    """Arithmetic and least bytes of a model's parts, the floors that this machine sets them, and where time goes."""

    model: Positional[str] = "gcvit_tiny:folded"
    """one of ours, written NAME[:FORM]… as for gcvit bench speed; compiled and exported ones as a whole only"""
    json: bool = False
    """print one JSON object instead of tables"""
    out: Path | None = None
    """a folder for budget.json and budget.md"""
    settings: OmitArgPrefixes[BudgetConfig] = field(default_factory=BudgetConfig)


def run(argv: Sequence[str]) -> None:
    """Measure and show."""
    arguments = parse(Arguments, "bench budget", argv)
    from gcvit.bench import budget
    from gcvit.bench.report import write_results

    settings, written = arguments.settings, list[Path]()
    if arguments.out is not None:
        require_folder(arguments.out)
    with status() as progress:
        found = budget.run(arguments.model, settings, progress)
    content, page = budget.as_json(settings, found), budget.page(settings, found)
    if arguments.out is not None:
        written = write_results(arguments.out, "budget", content, page, ["gcvit", "bench", "budget", *argv])
    if arguments.json:
        say(json.dumps(content))
        return
    show(page)
    for path in written:
        say(f"written: {path}")
    name = arguments.model.split(":")[0]
    next_steps(["gcvit", "bench", "speed", "--models", name, f"{name}:folded"])
