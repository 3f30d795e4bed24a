"""`gcvit bench cost`: parameters and multiply-accumulates beside the paper's tables."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from tyro.conf import Positional

from gcvit.cli.arguments import parse
from gcvit.cli.output import next_steps, say, show, status


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
    from gcvit.bench import headed

    counted = {"detect": headed.DETECT, "segment": headed.SEGMENT}[arguments.task]
    with status() as progress:
        found = []
        for line in counted.lines:
            found.append(headed.count(line))
            progress(f"counted {line.model}")
    if arguments.json:
        say(json.dumps({"size": counted.size, "rows": [asdict(row) for row in found]}))
        return
    show(headed.page(counted, found))
    next_steps(["gcvit", "train", arguments.task, "--list"])
