"""`gcvit bench speed`: models in turns on this machine."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import OmitArgPrefixes

from gcvit.bench.settings import SpeedConfig
from gcvit.cli.arguments import parse
from gcvit.cli.output import next_steps, say, show, status
from gcvit.files import require_folder


@dataclass(frozen=True)
class Speed:
    """Compare the speed of models, ours and timm's, in turns."""

    json: bool = False
    """print one JSON object with every turn instead of a table"""
    out: Path | None = None
    """a folder for results.json, results.md and a picture, speed.png"""
    settings: OmitArgPrefixes[SpeedConfig] = field(default_factory=SpeedConfig)


def run(argv: Sequence[str]) -> None:
    """Measure and show."""
    arguments = parse(Speed, "bench speed", argv)
    from gcvit.bench import speed, speed_page

    settings, written = arguments.settings, []
    again = ["gcvit", "bench", "speed"]
    if arguments.out is not None:
        require_folder(arguments.out)
    with status() as progress:
        rows = speed.run(settings, progress)
    if arguments.out is not None:
        written = speed_page.write(arguments.out, settings, rows, [*again, *argv])
    if arguments.json:
        say(json.dumps(speed_page.as_json(settings, rows)))
        return
    show(speed_page.page(settings, rows))
    for path in written:
        say(f"written: {path}")
    next_steps([*again, "--peers", "--out", "speed"], [*again, "--mode", "train"], ["gcvit", "bench", "budget"])
