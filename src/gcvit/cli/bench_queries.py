"""`gcvit bench queries MODEL`: what a trained model uses its global queries for."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from gcvit.cli.arguments import ReadsPictures, parse
from gcvit.cli.output import counter, next_steps, say, show
from gcvit.engine.fields import Range


@dataclass(frozen=True)
class Queries(ReadsPictures):
    """Measure a model with other global queries: another picture's, the mean, shuffled ones, none.

    What it loses says what it uses them for. A run's folder brings its own data; others are measured on --data, or on
    built-in pictures.
    """

    model: Positional[str]
    """a run's folder (its best weights), a model's folder, a checkpoint file or a model's name"""
    data: str | None = None
    """what to measure on; none: a run's own data, or built-in pictures"""
    images: Annotated[int, Range(2, 10**9)] = 300
    """number of built-in pictures"""
    batch_size: Annotated[int, Range(1, 65_536)] = 32
    """pictures at once, over which the mean is taken"""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda or cuda:1"""
    json: bool = False
    """print one JSON object a line instead of tables"""


def run(argv: Sequence[str]) -> None:
    """Measure and show."""
    arguments = parse(Queries, "bench queries", argv)
    from gcvit.bench.queries import measure_queries, page
    from gcvit.opening import open as open_model
    from gcvit.tasks.runs import hold_out, run_of

    opened = open_model(arguments.model)
    record = run_of(arguments.model, opened.task)
    config = opened.task.config() if record is None else record.config
    data = config.data if arguments.data is None else arguments.data
    (held_out,) = hold_out([opened], replace(config, data=data, val_images=arguments.images), [record], "own")
    with counter("measuring") as progress:
        found = measure_queries(
            opened, held_out, batch_size=arguments.batch_size, device=arguments.device, progress=progress
        )
    if arguments.json:
        for row in found:
            say(json.dumps(asdict(row)))
        return
    show(page(arguments.model, opened, held_out, found))
    model = Path(arguments.model)
    next_steps(["gcvit", "predict", model, "photo.jpg"], ["gcvit", "info", model])
