"""`gcvit eval classify`: measures classifiers on held-out images, one in detail or several side by side."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from tyro.conf import Positional

from gcvit.cli.arguments import parse
from gcvit.cli.evaluating import EvaluationArguments, complain_of, require_flag, write
from gcvit.cli.output import counter, facts, next_steps, per_class, percent, say, table
from gcvit.distributed import is_main, process_group
from gcvit.metrics import most_confused
from gcvit.tasks.classify.evaluate_checkpoint import CheckpointEvaluation, evaluate_checkpoint, open_candidate
from gcvit.tasks.classify.evaluation_files import write_files
from gcvit.tasks.classify.inference import TTA
from gcvit.tasks.classify.names import readable
from gcvit.tasks.sources import checkpoint_path
from gcvit.tasks.wording import rate

CONFUSED = 5  # pairs of classes shown


@dataclass(frozen=True)
class Evaluate(EvaluationArguments):
    """Measure classifiers: top-1, top-5, calibration, the worst classes, what is taken for what, and the speed.

    Several models or sizes come side by side in one table. Among several processes the images are shared out:
    torchrun --nproc-per-node 2 -m gcvit eval classify …
    """

    model: Positional[tuple[str, ...]]
    """checkpoint files, hub directories, runs' folders (their best/) or models' names"""
    data: str | None = None
    """folder or tar archive with val/CLASS/… or test/CLASS/…, or CLASS/… itself; none: held-out built-in images"""
    val_fraction: float | None = None
    """training's val_fraction, to measure on just what it held out of data without val/; none: on all images"""
    size: tuple[int, ...] = ()
    """sides of the model's input in pixels, at least 32; left out: the checkpoint's own"""
    tta: TTA = "none"
    """flip: the mean of what the model says of the image and of its mirror image"""


def run(argv: Sequence[str]) -> None:
    """Evaluate and show; of several processes the first one speaks."""
    arguments = parse(Evaluate, "eval classify", argv)
    arguments.check("gcvit eval classify gcvit-runs/quickstart-001")
    for size in arguments.size:
        require_flag("--size", size, 32)
    with process_group():
        results = _measure(arguments)
        if not is_main():
            return
        if arguments.out is not None:
            write(arguments.out, results, write_files, lambda result: "{}-{}x{}".format(result.model, *result.size))
    if arguments.json:
        for result in results:
            say(json.dumps(result.measures()))
        return
    complain_of(results[0].result.unreadable, results[0].result.caution)
    if len(results) == 1:
        _describe(results[0])
    else:
        _compare(results)
    best = checkpoint_path(max(results, key=lambda result: result.top1).source)
    if arguments.out is not None:
        say(f"\nresults: {arguments.out}")
    next_steps(["gcvit", "predict", best, "photo.jpg"], ["gcvit", "info", best])


def _measure(arguments: Evaluate) -> list[CheckpointEvaluation]:
    if len(arguments.model) > 1:  # what is wrong with the last one is said before the first has taken an hour
        for source in arguments.model:
            open_candidate(
                source,
                arguments.data,
                val_fraction=arguments.val_fraction,
                seed=arguments.seed,
                images=arguments.images,
            )
    results = []
    for source in arguments.model:
        for size in arguments.size or (None,):
            with counter(f"evaluating {source}" + (f" at {size} px" if size else ""), quiet=not is_main()) as progress:
                results.append(
                    evaluate_checkpoint(
                        source,
                        arguments.data,
                        val_fraction=arguments.val_fraction,
                        seed=arguments.seed,
                        images=arguments.images,
                        size=size,
                        tta=arguments.tta,
                        bad_images=arguments.bad_images,
                        batch_size=arguments.batch_size,
                        workers=arguments.workers,
                        device=arguments.device,
                        precision=arguments.precision,
                        progress=progress,
                    )
                )
    return results


def _describe(result: CheckpointEvaluation) -> None:
    figures = result.result
    low, high = figures.top1_interval
    tta = ", mirror images too" if result.tta == "flip" else ""
    left_out = [("left out", f"{len(figures.unreadable):,} that could not be read")] if figures.unreadable else []
    facts(
        [
            ("model", f"{result.model} at {_by(result)} px{tta}"),
            ("data", f"{result.images:,} images of {result.data}"),
            *left_out,
            ("top-1", f"{percent(result.top1)}, 95% interval {percent(low)} to {percent(high)}"),
            *([("top-5", percent(result.top5))] if result.top5 is not None else []),
            ("per class", f"{percent(figures.accuracy.mean_per_class)} on average"),
            ("ECE", f"{percent(figures.calibration.error)} expected calibration error, 15 bins"),
            ("loss", f"{result.loss:.4f}"),
            ("speed", f"{rate(result.images_per_second)} images/s, loading included"),
        ]
    )
    per_class({readable(name): share for name, share in result.per_class.items()})
    pairs = most_confused(figures.labels, figures.predicted, CONFUSED)
    if pairs:
        names = result.names
        table(
            ["most confused", "taken for", ">images"],
            [[readable(names[truth]), readable(names[guess]), f"{n:,}"] for truth, guess, n in pairs],
        )


def _compare(results: Sequence[CheckpointEvaluation]) -> None:
    say(f"{results[0].images:,} images of {results[0].data}")
    top5 = any(result.top5 is not None for result in results)
    rows = []
    for result in results:
        low, high = result.result.top1_interval
        cells = [result.source, _by(result), percent(result.top1), f"{percent(low)} to {percent(high)}"]
        if top5:
            cells.append("–" if result.top5 is None else percent(result.top5))
        rows.append(
            [*cells, percent(result.result.calibration.error), f"{result.loss:.3f}", rate(result.images_per_second)]
        )
    heading = ["model", ">size", ">top-1", ">95% interval", *([">top-5"] if top5 else []), ">ECE", ">loss", ">images/s"]
    table(heading, rows)


def _by(result: CheckpointEvaluation) -> str:
    return "{}×{}".format(*result.size)
