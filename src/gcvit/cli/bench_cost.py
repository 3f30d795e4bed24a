"""`gcvit bench cost segment`: parameters and multiply-accumulates beside the paper's table."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from tyro.conf import Positional

from gcvit.bench import segment_cost
from gcvit.cli.arguments import parse
from gcvit.cli.output import next_steps, say, status, table


@dataclass(frozen=True)
class Cost:
    """Count parameters and multiply-accumulates as the paper's tables do, beside their figures."""

    task: Positional[Literal["segment"]]
    """segment: Table 3, UPerNet at 512×2048 px with 150 classes"""
    json: bool = False
    """print one JSON object with the exact counts instead of a table"""


def run(argv: Sequence[str]) -> None:
    """Count and show."""
    arguments = parse(Cost, "bench cost", argv)
    with status() as progress:
        found = []
        for row in segment_cost.rows():
            progress(f"counted {row.published.model}")
            found.append(row)
    if arguments.json:
        say(json.dumps({"size": segment_cost.SIZE, "rows": [asdict(row) for row in found]}))
        return
    height, width = segment_cost.SIZE
    say(f"UPerNet at {height}×{width} px, {segment_cost.CLASSES} classes, beside Table 3 of the paper")
    table(*segment_cost.table(found))
    say("\nwindows: tokens a side, stage by stage, with which the figures come out;")
    say("GMACs: in the papers' counter: products, norms, ReLU, pooling, but no GELU;")
    say("as run: with the norms and MLPs of padding, which the published code leaves out")
    next_steps(["gcvit", "train", "segment", "--list"])
