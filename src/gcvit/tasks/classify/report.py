"""The report of a run or an evaluation: one HTML file that needs nothing else, for a person who was not there."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from gcvit.engine.figures import draw_curves
from gcvit.metrics import most_confused, wilson
from gcvit.tasks import page
from gcvit.tasks.classify.charts import draw_confusion, draw_reliability
from gcvit.tasks.classify.config import ClassifyConfig
from gcvit.tasks.classify.data import Pictures
from gcvit.tasks.classify.evaluate import Evaluation
from gcvit.tasks.classify.names import readable
from gcvit.tasks.classify.pictures import surest, thumbnail
from gcvit.tasks.wording import plural, rate

THUMBNAILS, SIDE = 12, 160


def write_report(
    folder: Path,
    *,
    title: str,
    evaluation: Evaluation,
    images: Pictures,
    classes: Sequence[str],
    config: ClassifyConfig | None = None,
    events: Sequence[Mapping[str, Any]] = (),
    facts: Sequence[tuple[str, str]] = (),
    commands: Sequence[tuple[str, Sequence[object]]] = (),
) -> Path:
    """Write `folder`/report.html and return it.

    evaluation: of `images`, whose classes are called `classes`. config, events: of the training run and its log.
    facts: (name, value) lines about cost and environment, after those that the log tells.
    commands: (what for, its words), to type next.
    """
    sections = [
        _headline(title, evaluation, len(classes), len(images)),
        _curves(events, len(classes)),
        _pictures(evaluation, images, classes),
        _confusion(evaluation, classes),
        _per_class(evaluation, classes),
        page.left_out(evaluation.unreadable),
        page.facts([*page.told(events), *facts]),
        page.configuration(config, ClassifyConfig()),
        page.commands(commands),
    ]
    return page.write_page(folder, title, sections)


def _headline(title: str, result: Evaluation, classes: int, images: int) -> str:
    accuracy = result.accuracy
    low, high = result.top1_interval
    numbers = [("top-1", f"{accuracy.top1:.1%}", f"95% interval {low:.1%} to {high:.1%}")]
    if classes > 5:
        numbers.append(("top-5", f"{accuracy.top5:.1%}", "among the five likeliest"))
    numbers += [
        ("mean per class", f"{accuracy.mean_per_class:.1%}", "every class weighs the same"),
        ("calibration error", f"{result.calibration.error:.1%}", "ECE, 15 bins; 0 is best"),
        ("loss", f"{result.loss:.3f}", "mean cross-entropy (NLL)"),
        ("speed", f"{rate(result.images_per_second)}/s", "images evaluated, loading included"),
    ]
    left_out = f"; {plural(images - accuracy.images, 'image')} could not be read" if images > accuracy.images else ""
    measured = (
        f"Measured on {plural(accuracy.images, 'held-out image')} of "
        f"{plural(sum(share is not None for share in accuracy.per_class), 'class', 'es')}{left_out}."
    )
    return page.headline(title, measured, result.caution, numbers)


def _curves(events: Sequence[Mapping[str, Any]], classes: int) -> str:
    held_out = [event for event in events if event["event"] == "evaluation"]
    if not held_out:
        return ""
    scores = {"top1": "top-1", "top5": "top-5"} if classes > 5 else {"top1": "top-1"}
    figure = draw_curves([dict(event) for event in events], scores=scores, title="")
    return f"<h2>Training</h2>{page.figure(figure, 'loss and held-out scores over the epochs')}"


def _pictures(result: Evaluation, images: Pictures, classes: Sequence[str]) -> str:
    parts = []
    for heading, right in (("Most confident mistakes", False), ("Most confident right answers", True)):
        rows = surest(result, THUMBNAILS, right=right)
        if rows:
            shown = "".join(_picture(result, row, images, classes) for row in rows)
            parts.append(f'<h2>{heading}</h2><div class="pictures">{shown}</div>')
    return "".join(parts)


def _picture(result: Evaluation, row: int, images: Pictures, classes: Sequence[str]) -> str:
    position = int(result.positions[row])
    guess, truth = int(result.predicted[row]), int(result.labels[row])
    verdict = "right" if guess == truth else "wrong"
    caption = f'<span class="{verdict}">{escape(readable(classes[guess]))} {result.confidence[row]:.0%}</span>'
    if guess != truth:
        caption += f"<br>is {escape(readable(classes[truth]))}"
    return page.picture(thumbnail(images[position][0], SIDE), images.name(position), caption)


def _confusion(result: Evaluation, classes: Sequence[str]) -> str:
    parts = [
        "<h2>What is taken for what</h2>",
        page.figure(draw_confusion(result.labels, result.predicted, classes, title=""), "confusion of classes"),
    ]
    pairs = most_confused(result.labels, result.predicted, 10)
    if pairs:
        rows = [(readable(classes[truth]), readable(classes[guess]), f"{n:,}") for truth, guess, n in pairs]
        parts.append(page.table(["class", "taken for", ">images"], rows))
    parts += [
        "<h2>Is it right as often as it is sure?</h2>",
        page.figure(draw_reliability(result.calibration, title=""), "share right against confidence"),
    ]
    return "".join(parts)


def _per_class(result: Evaluation, classes: Sequence[str]) -> str:
    counted = [(label, images, hits) for label, (images, hits, _) in enumerate(result.accuracy.counts.tolist())]
    counted = [row for row in counted if row[1]]
    counted.sort(key=lambda row: (row[2] / row[1], row[0]))
    rows = []
    for label, images, hits in counted:
        low, high = wilson(hits, images)
        rows.append((readable(classes[label]), f"{images:,}", f"{hits / images:.1%}", f"{low:.0%} to {high:.0%}"))
    return page.classes_table(["class", ">images", ">top-1", ">95% interval"], rows)
