"""`gcvit bench cost`: parameters and multiply-accumulates beside the paper's tables."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from tyro.conf import Positional

from gcvit.cli.arguments import parse
from gcvit.cli.output import next_steps, say, say_lines, status, table


@dataclass(frozen=True)
class Cost:
    """Count parameters and multiply-accumulates as the paper's tables do, beside their figures."""

    task: Positional[Literal["detect", "segment"]]
    """detect: Table 2, Mask R-CNN and Cascade at 1280×800 px with 80 classes; segment: Table 3, UPerNet at 512×2048 px
    with 150 classes"""
    json: bool = False
    """print one JSON object with the exact counts instead of a table"""


def run(argv: Sequence[str]) -> None:
    """Count and show."""
    arguments = parse(Cost, "bench cost", argv)
    from gcvit.bench import detect_cost, paper_table, segment_cost

    costs = {"detect": detect_cost, "segment": segment_cost}[arguments.task]
    with status() as progress:
        found = []
        for row in costs.rows():
            progress(f"counted {row.published.model}")
            found.append(row)
    if arguments.json:
        say(json.dumps({"size": costs.SIZE, "rows": [asdict(row) for row in found]}))
        return
    say(costs.TITLE)
    table(*paper_table.table(found, costs.NAMES))
    say()
    say_lines(costs.NOTE)
    say("M: millions of parameters;")
    say("GMACs: in the papers' counter: products, norms, ReLU, pooling, but no GELU;")
    say("as run: with the norms and MLPs of padding, which the published code leaves out")
    next_steps(["gcvit", "train", arguments.task, "--list"])
