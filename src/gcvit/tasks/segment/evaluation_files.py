"""What an evaluation leaves in a folder: figures to compute with, pictures and a report to look at."""

import json
from pathlib import Path

from gcvit.engine.figures import save_figure
from gcvit.files import write_atomically
from gcvit.tasks.result_files import write_csv
from gcvit.tasks.segment.charts import draw_confusion
from gcvit.tasks.segment.evaluate_checkpoint import CheckpointEvaluation
from gcvit.tasks.segment.inference import Looks
from gcvit.tasks.segment.report import write_report


def write_files(folder: Path, measured: CheckpointEvaluation) -> None:
    """Write metrics.json, per_class.csv, images.csv, confusion.png and report.html."""
    folder.mkdir(parents=True, exist_ok=True)
    result, opened = measured.result, measured.opened
    counts = result.counts
    write_atomically(folder / "metrics.json", (json.dumps(measured.measures(), indent=2) + "\n").encode())
    pixels = counts.confusion.sum(1).tolist()
    columns = (counts.per_class_iou, counts.per_class_accuracy, counts.per_class_boundary_iou)
    write_csv(
        folder / "per_class.csv",
        ["class", "pixels", "share", "iou", "accuracy", "boundary_iou"],
        (
            [name, number, f"{number / counts.pixels:.6g}", *map(_number, scores)]
            for name, number, *scores in zip(opened.classes, pixels, *columns, strict=True)
        ),
    )
    write_csv(
        folder / "images.csv",
        ["file", "labelled_pixels", "miou", "pixel_accuracy", "loss"],
        (
            [
                measured.scenes.name(image.position),
                image.pixels,
                *map(_number, (image.miou, image.pixel_accuracy, image.loss / image.pixels if image.pixels else None)),
            ]
            for image in result.images
        ),
    )
    title = f"{measured.name}: mIoU {counts.miou:.1%} of {measured.images:,} images"
    save_figure(draw_confusion(counts, opened.classes, title=title), folder / "confusion.png")
    write_report(
        folder,
        title=f"{measured.name}, shown {describe(measured.looks)}",
        evaluation=result,
        scenes=measured.scenes,
        classes=opened.classes,
        palette=opened.palette,
        facts=[
            ("checkpoint", measured.source),
            ("images", measured.data),
            ("parameters", f"{measured.parameters:,}"),
            ("shown", describe(measured.looks)),
            ("device", f"{measured.device}, {measured.precision}"),
            ("time", f"{result.seconds:,.1f} s"),
        ],
        commands=[
            (
                "colour your own images",
                ["gcvit", "predict", "segment", measured.source, "photo.jpg", "--out", "predicted"],
            )
        ],
    )


def describe(looks: Looks) -> str:
    """How the model was shown the images, in few words."""
    words = ["whole" if looks.mode == "whole" else "in windows of {}×{}".format(*looks.window)]
    if looks.scales != (1.0,):
        words.append("scales " + " ".join(f"{scale:g}" for scale in looks.scales))
    return ", ".join([*words, *(["mirrored too"] if looks.flip else [])])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
