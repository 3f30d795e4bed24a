"""`gcvit eval segment`: measures segmentation models on held-out scenes, one in detail or several side by side."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from tyro.conf import Positional

from gcvit.cli.arguments import parse
from gcvit.cli.evaluating import EvaluationArguments, complain_of, write
from gcvit.cli.output import counter, facts, next_steps, percent, say, table
from gcvit.distributed import is_main, process_group
from gcvit.tasks.segment.charts import most_confused
from gcvit.tasks.segment.evaluate_checkpoint import CheckpointEvaluation, HeldOut, evaluate_checkpoint, open_candidate
from gcvit.tasks.segment.evaluation_files import describe, write_files
from gcvit.tasks.segment.inference import Looks, Mode
from gcvit.tasks.sources import checkpoint_path
from gcvit.tasks.wording import rate

WORST, CONFUSED = 10, 5  # classes and pairs of classes shown


@dataclass(frozen=True)
class Evaluate(EvaluationArguments):
    """Measure segmentation models: mIoU, boundary IoU, the worst classes, what is taken for what, and the speed.

    Figures are at the pictures' own size. Several models come side by side in one table. Among several processes the
    pictures are shared out: torchrun --nproc-per-node 2 -m gcvit eval segment …
    """

    model: Positional[tuple[str, ...]]
    """folders of models, or runs' folders (their best/)"""
    data: str | None = None
    """folder with images/validation and annotations/validation, or images/ and labels/; none: held-out built-in
    scenes"""
    classes_file: str | None = None
    """text file with a class name a line; none: classes.txt in data, or ADE20K's own"""
    ignore_label: int | None = 255
    """value in label files of pixels that do not count; none: every value is a class"""
    zero_is_ignored: bool | None = None
    """label 0 does not count and classes start at 1; none: for ADE20K only"""
    val_fraction: float | None = None
    """training's val_fraction, to measure on just what it held out of data without validation part; none: on all"""
    images: int = 200
    """number of built-in scenes"""
    mode: Mode = "whole"
    """slide: in windows of the crops' size at two thirds of it, averaged where they overlap"""
    scales: tuple[float, ...] = (1.0,)
    """sizes at which pictures are shown, as factors; the softmax of several is averaged"""
    flip: bool = False
    """show the mirror images too"""
    batch_size: int = 4
    """pictures of one size computed at once"""

    @property
    def held_out(self) -> HeldOut:
        """What to measure on."""
        return HeldOut(
            path=self.data,
            images=self.images,
            val_fraction=self.val_fraction,
            seed=self.seed,
            classes_file=self.classes_file,
            ignore_label=self.ignore_label,
            zero_is_ignored=self.zero_is_ignored,
        )


def run(argv: Sequence[str]) -> None:
    """Evaluate and show; of several processes the first one speaks."""
    arguments = parse(Evaluate, "eval segment", argv)
    arguments.check("gcvit eval segment gcvit-runs/segment_small-001")
    Looks(scales=arguments.scales)  # refuses what cannot be
    with process_group():
        results = _measure(arguments)
        if not is_main():
            return
        if arguments.out is not None:
            write(arguments.out, results, write_files, lambda result: result.opened.name)
    if arguments.json:
        for result in results:
            say(json.dumps(result.measures()))
        return
    complain_of(results[0].result.unreadable, results[0].result.caution)
    if len(results) == 1:
        _describe(results[0])
    else:
        _compare(results)
    best = checkpoint_path(max(results, key=lambda result: result.result.counts.miou).source)
    if arguments.out is not None:
        say(f"\nresults: {arguments.out}")
    next_steps(["gcvit", "predict", "segment", best, "photo.jpg", "--out", "predicted"])


def _measure(arguments: Evaluate) -> list[CheckpointEvaluation]:
    if len(arguments.model) > 1:  # what is wrong with the last one is said before the first has taken an hour
        found = [open_candidate(source, arguments.held_out) for source in arguments.model]
        crops = {candidate.opened.preprocessing.crop for candidate in found}
        if arguments.data is None and len(crops) > 1:
            raise ValueError(
                "the built-in scenes are drawn at the size that a model was trained on, and these were trained on "
                f"{' and '.join(f'{height}×{width}' for height, width in sorted(crops))} px; give them --data"
            )
    results = []
    for source in arguments.model:
        with counter(f"evaluating {source}", quiet=not is_main()) as progress:
            results.append(
                evaluate_checkpoint(
                    source,
                    arguments.held_out,
                    mode=arguments.mode,
                    scales=arguments.scales,
                    flip=arguments.flip,
                    bad_images=arguments.bad_images,
                    batch_size=arguments.batch_size,
                    workers=arguments.workers,
                    device=arguments.device,
                    precision=arguments.precision,
                    progress=progress,
                )
            )
    return results


def _describe(measured: CheckpointEvaluation) -> None:
    result, counts = measured.result, measured.result.counts
    left_out = [("left out", f"{len(result.unreadable):,} that could not be read")] if result.unreadable else []
    facts(
        [
            ("model", f"{measured.name}, shown {describe(measured.looks)}"),
            ("data", f"{measured.images:,} images of {measured.data}"),
            *left_out,
            ("mIoU", percent(counts.miou)),
            ("boundary IoU", percent(counts.boundary_iou)),
            (
                "accuracy",
                f"{percent(counts.mean_accuracy)} mean of the classes, {percent(counts.pixel_accuracy)} of pixels",
            ),
            ("loss", f"{result.loss:.4f}"),
            ("speed", f"{rate(result.images_per_second)} images/s, loading included"),
        ]
    )
    names = measured.opened.classes
    columns = (counts.per_class_iou, counts.per_class_accuracy, counts.per_class_boundary_iou)
    rows = sorted((row for row in zip(*columns, names, strict=True) if row[0] is not None), key=lambda row: row[0] or 0)
    title = f"the {WORST} worst of {len(rows)} classes" if len(rows) > WORST else "classes, the worst first"
    table(
        [title, ">IoU", ">accuracy", ">boundary IoU"],
        [
            [name, *("–" if value is None else percent(value) for value in (iou, accuracy, edges))]
            for iou, accuracy, edges, name in rows[:WORST]
        ],
    )
    pixels = counts.confusion.sum(1).tolist()
    if pairs := most_confused(counts, CONFUSED):
        table(
            ["most confused", "taken for", ">of the class"],
            [[names[truth], names[guess], percent(number / pixels[truth])] for truth, guess, number in pairs],
        )


def _compare(results: Sequence[CheckpointEvaluation]) -> None:
    say(f"{results[0].images:,} images of {results[0].data}, shown {describe(results[0].looks)}")
    table(
        ["model", ">M params", ">mIoU", ">boundary", ">mean acc.", ">pixel acc.", ">loss", ">images/s"],
        [
            [
                measured.source,
                f"{measured.parameters / 1e6:.1f}",
                *map(percent, (counts.miou, counts.boundary_iou, counts.mean_accuracy, counts.pixel_accuracy)),
                f"{measured.result.loss:.3f}",
                rate(measured.result.images_per_second),
            ]
            for measured in results
            for counts in [measured.result.counts]
        ],
    )
