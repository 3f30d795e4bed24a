"""`gcvit bench speed`: models in turns on this machine."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from tyro.conf import OmitArgPrefixes

from gcvit.bench import speed
from gcvit.cli.arguments import parse
from gcvit.cli.output import facts, next_steps, say, status, table


@dataclass(frozen=True)
class Speed:
    """Compare the speed of models, ours and timm's, in turns."""

    json: bool = False
    """print one JSON object with every turn instead of a table"""
    settings: OmitArgPrefixes[speed.SpeedConfig] = field(default_factory=speed.SpeedConfig)


def run(argv: Sequence[str]) -> None:
    """Measure and show."""
    arguments = parse(Speed, "bench speed", argv)
    settings = arguments.settings
    with status() as progress:
        rows = speed.run(settings, progress)
    if arguments.json:
        say(json.dumps(speed.as_json(settings, rows)))
        return
    what = "a training step" if settings.mode == "train" else "inference"
    measured = f"{what} at {settings.size}×{settings.size} px, {settings.precision}, {settings.rounds} turns each"
    facts([("measured", measured), *speed.describe(settings).items()])
    table(*speed.table(rows))
    say("\nms: a batch's median time; ×: how many times as fast as the first model;")
    say("paired ×: the same within rounds, less touched by what else the machine does")
    again = ["gcvit", "bench", "speed"]
    next_steps([*again, "--mode", "train"], [*again, "--models", "timm/swin_tiny_patch4_window7_224", "gcvit_tiny"])
