"""The report of a segmentation run or evaluation, for a person who was not there."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gcvit.data.label_maps import RGB
from gcvit.engine.figures import draw_curves
from gcvit.tasks import page
from gcvit.tasks.confusion import LABELLED
from gcvit.tasks.segment.charts import draw_confusion, draw_ious, most_confused
from gcvit.tasks.segment.config import SegmentConfig
from gcvit.tasks.segment.data import LabelledScenes
from gcvit.tasks.segment.evaluate import Evaluation, SceneResult
from gcvit.tasks.segment.pictures import draw_sheet
from gcvit.tasks.wording import plural, rate

SCORES = {"miou": "mIoU", "pixel_accuracy": "pixel accuracy", "boundary_iou": "boundary IoU"}


def write_report(
    folder: Path,
    *,
    title: str,
    evaluation: Evaluation,
    scenes: LabelledScenes,
    classes: Sequence[str],
    palette: Sequence[RGB],
    config: SegmentConfig | None = None,
    events: Sequence[Mapping[str, Any]] = (),
    facts: Sequence[tuple[str, str]] = (),
    commands: Sequence[tuple[str, Sequence[object]]] = (),
) -> Path:
    """Write `folder`/report.html and return it.

    evaluation: of `scenes`. classes, palette: of the model. config, events: of the training run and its log.
    facts: (name, value) lines about cost and environment, after those that the log tells.
    commands: (what for, its words), to type next.
    """
    sections = [
        _headline(title, evaluation),
        _curves(events),
        _pictures(evaluation, scenes, classes, palette),
        _classes(evaluation, classes),
        _confusion(evaluation, classes),
        page.left_out(evaluation.unreadable),
        page.facts([*page.told(events, by_step=True), *facts]),
        page.configuration(config, SegmentConfig()),
        page.commands(commands),
    ]
    return page.write_page(folder, title, sections)


def shown(evaluation: Evaluation, scenes: LabelledScenes) -> list[tuple[str, list[tuple[str, SceneResult]]]]:
    """The images to look at, in groups: (heading, (name, result))."""
    groups = {"the worst": evaluation.worst, "near the median": evaluation.middling, "the best": evaluation.best}
    return [
        (heading, [(Path(scenes.name(result.position)).name, result) for result in results])
        for heading, results in groups.items()
        if results
    ]


def _headline(title: str, result: Evaluation) -> str:
    counts = result.counts
    numbers = [
        ("mIoU", f"{counts.miou:.1%}", "intersection over union, mean over classes"),
        ("boundary IoU", f"{counts.boundary_iou:.1%}", "the same within 2% of the diagonal along edges"),
        ("mean accuracy", f"{counts.mean_accuracy:.1%}", "every class weighs the same"),
        ("pixel accuracy", f"{counts.pixel_accuracy:.1%}", "every pixel weighs the same"),
        ("loss", f"{result.loss:.3f}", "mean cross-entropy of the pixels"),
        ("speed", f"{rate(result.images_per_second)}/s", "images evaluated, loading included"),
    ]
    classes = sum(share is not None for share in counts.per_class_accuracy)
    left_out = f"; {plural(len(result.unreadable), 'image')} could not be read" if result.unreadable else ""
    measured = (
        f"Measured on {plural(len(result.images), 'held-out image')} at their own size, {counts.pixels:,} labelled "
        f"pixels of {plural(classes, 'class', 'es')}{left_out}."
    )
    return page.headline(title, measured, result.caution, numbers)


def _curves(events: Sequence[Mapping[str, Any]]) -> str:
    if not any(event["event"] == "evaluation" for event in events):
        return ""
    figure = draw_curves([dict(event) for event in events], scores=SCORES, title="", by_step=True)
    return f"<h2>Training</h2>{page.figure(figure, 'loss and held-out scores over the steps')}"


def _pictures(result: Evaluation, scenes: LabelledScenes, classes: Sequence[str], palette: Sequence[RGB]) -> str:
    parts = []
    for heading, images in shown(result, scenes):
        figure = draw_sheet(images, scenes, result, classes, palette, title="")
        sheet = page.figure(figure, f"pictures, truth and prediction: {heading}", kind="jpeg")
        parts.append(f"<h2>Images: {heading}</h2>{sheet}")
    return "".join(parts)


def _classes(result: Evaluation, classes: Sequence[str]) -> str:
    counts = result.counts
    pixels = counts.confusion.sum(1).tolist()
    rows = [
        (iou, name, accuracy, edges, number / counts.pixels)
        for name, iou, accuracy, edges, number in zip(
            classes,
            counts.per_class_iou,
            counts.per_class_accuracy,
            counts.per_class_boundary_iou,
            pixels,
            strict=True,
        )
        if iou is not None
    ]
    rows.sort(key=lambda row: row[0])
    cells = [
        (name, f"{iou:.1%}", "–" if accuracy is None else f"{accuracy:.1%}", f"{edges or 0:.1%}", f"{share:.2%}")
        for iou, name, accuracy, edges, share in rows
    ]
    table = page.classes_table(["class", ">IoU", ">accuracy", ">boundary IoU", ">share of pixels"], cells)
    return table + page.figure(draw_ious(counts, classes, title=""), "IoU of the classes")


def _confusion(result: Evaluation, classes: Sequence[str]) -> str:
    counts = result.counts
    parts = ["<h2>What is taken for what</h2>"]
    if int((counts.confusion.sum(0) + counts.confusion.sum(1)).count_nonzero()) <= LABELLED:
        parts.append(page.figure(draw_confusion(counts, classes, title=""), "confusion of classes"))
    pixels = counts.confusion.sum(1).tolist()
    rows = [
        (classes[truth], classes[guess], f"{number / counts.pixels:.2%}", f"{number / pixels[truth]:.1%}")
        for truth, guess, number in most_confused(counts, 10)
    ]
    if rows:
        parts.append(page.table(["class", "taken for", ">of all pixels", ">of the class"], rows))
    return "".join(parts)
