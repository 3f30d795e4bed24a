"""What an evaluation leaves in a folder: figures to compute with, pictures and a report to look at."""

import json
from pathlib import Path

from gcvit.engine.figures import save_figure
from gcvit.files import write_atomically
from gcvit.metrics import wilson
from gcvit.tasks.classify.charts import draw_confusion, draw_reliability
from gcvit.tasks.classify.evaluate_checkpoint import CheckpointEvaluation
from gcvit.tasks.classify.names import describe
from gcvit.tasks.classify.report import write_report
from gcvit.tasks.result_files import write_csv


def write_files(folder: Path, measured: CheckpointEvaluation) -> None:
    """Write metrics.json, per_class.csv, predictions.csv, confusion.png, reliability.png and report.html."""
    folder.mkdir(parents=True, exist_ok=True)
    result, names = measured.result, measured.names
    title = f"{measured.model}: {result.accuracy.top1:.1%} of {measured.images:,} images right"
    write_atomically(folder / "metrics.json", (json.dumps(measured.measures(), indent=2) + "\n").encode())
    write_csv(
        folder / "per_class.csv",
        ["class", "description", "images", "right", "top1", "low95", "high95"],
        (
            [names[label], describe(names[label]) or "", images, hits, f"{hits / images:.6g}", *_interval(hits, images)]
            for label, (images, hits, _) in enumerate(result.accuracy.counts.tolist())
            if images
        ),
    )
    columns = (result.positions, result.labels, result.predicted, result.confidence, result.losses)
    write_csv(
        folder / "predictions.csv",
        ["file", "class", "predicted", "right", "confidence", "loss"],
        (
            [measured.held_out.name(at), names[label], names[guess], int(label == guess), f"{sure:.6g}", f"{loss:.6g}"]
            for at, label, guess, sure, loss in zip(*(column.tolist() for column in columns), strict=True)
        ),
    )
    save_figure(draw_confusion(result.labels, result.predicted, names, title=title), folder / "confusion.png")
    error = f"calibration error (ECE) {result.calibration.error:.1%}"
    save_figure(draw_reliability(result.calibration, title=error), folder / "reliability.png")
    height, width = measured.size
    write_report(
        folder,
        title=f"{measured.model} at {height}×{width} px",
        evaluation=result,
        images=measured.held_out,
        classes=names,
        facts=[
            ("checkpoint", measured.source),
            ("images", measured.data),
            ("parameters", f"{measured.parameters:,}"),
            ("test-time augmentation", measured.tta),
            ("device", f"{measured.device}, {measured.precision}"),
            ("time", f"{result.seconds:,.1f} s"),
        ],
        commands=[("name what is in your own images", ["gcvit", "predict", measured.source, "photo.jpg"])],
    )


def _interval(hits: int, images: int) -> list[str]:
    return [f"{edge:.6g}" for edge in wilson(hits, images)]
