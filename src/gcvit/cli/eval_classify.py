"""`gcvit eval classify`: measures a classifier on held-out images."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tyro.conf import Positional

from gcvit.cli.arguments import parse
from gcvit.cli.output import counter, facts, next_steps, per_class, percent, say
from gcvit.engine.device import Precision
from gcvit.tasks.classify import evaluate_checkpoint


@dataclass(frozen=True)
class Evaluate:
    """Measure a classifier: top-1, top-5, the worst classes and the speed."""

    model: Positional[str]
    """a checkpoint file, a hub directory (such as a run's best/) or a model's name"""
    data: str | None = None
    """folder with val/CLASS/… or test/CLASS/…, or CLASS/… itself; none: held-out built-in images"""
    val_fraction: float | None = None
    """training's val_fraction, to measure on just what it held out of data without val/; none: on all images"""
    seed: int = 0
    """training's seed, which chose what it held out"""
    images: int = 1000
    """number of built-in images"""
    size: int | None = None
    """side of the model's input in pixels, at least 32; none: the checkpoint's own"""
    batch_size: int = 128
    """images computed at once"""
    workers: int = 0
    """processes that load images; 0: this one"""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda or cuda:1"""
    precision: Precision = "auto"
    """auto: bf16 on a GPU that has it, fp32 elsewhere"""
    json: bool = False
    """print one JSON object instead of a table"""


def run(argv: Sequence[str]) -> None:
    """Evaluate and show."""
    arguments = parse(Evaluate, "eval classify", argv)
    for flag, value, least in (
        ("--seed", arguments.seed, 0),
        ("--images", arguments.images, 1),
        ("--size", arguments.size, 32),
        ("--batch-size", arguments.batch_size, 1),
        ("--workers", arguments.workers, 0),
    ):
        if value is not None and value < least:
            raise ValueError(f"{flag} {value}: it must be at least {least}")
    with counter("evaluating") as progress:
        result = evaluate_checkpoint(
            arguments.model,
            arguments.data,
            val_fraction=arguments.val_fraction,
            seed=arguments.seed,
            images=arguments.images,
            size=arguments.size,
            batch_size=arguments.batch_size,
            workers=arguments.workers,
            device=arguments.device,
            precision=arguments.precision,
            progress=progress,
        )
    if arguments.json:
        say(json.dumps(asdict(result), ensure_ascii=False))
        return
    height, width = result.size
    facts(
        [
            ("model", f"{result.model} at {height}×{width} px"),
            ("data", f"{result.images:,} images of {result.data}"),
            ("top-1", percent(result.top1)),
            ("top-5", percent(result.top5)),
            ("loss", f"{result.loss:.4f}"),
            ("speed", f"{result.images_per_second:,.0f} images/s, loading included"),
        ]
    )
    per_class(result.per_class)
    next_steps(["gcvit", "predict", arguments.model, arguments.data or "photo.jpg"], ["gcvit", "info", arguments.model])
