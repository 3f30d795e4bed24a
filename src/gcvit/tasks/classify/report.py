"""The parts of a report that only a classifier's has: its surest mistakes, confusions, calibration, classes."""

from typing import TYPE_CHECKING

from gcvit.tasks import page
from gcvit.tasks.classify.charts import draw_confusion, draw_reliability
from gcvit.tasks.classify.names import readable
from gcvit.tasks.classify.pictures import surest
from gcvit.tasks.pictures import thumbnail
from gcvit.wording import percent

if TYPE_CHECKING:
    from gcvit.tasks.classify.evaluation import ClassifyEvaluation

THUMBNAILS, SIDE = 12, 160


def sections(result: "ClassifyEvaluation") -> list[str]:
    """HTML; see `gcvit.tasks.evaluation.Evaluation.sections`."""
    confusion = draw_confusion(result.labels, result.predicted, result.classes, title="")
    mistakes = result.confused(10)
    return [
        _pictures(result),
        "<h2>What is taken for what</h2>",
        page.figure(confusion, "confusion of classes"),
        page.table(mistakes.headings, mistakes.rows) if mistakes.rows else "",
        "<h2>Is it right as often as it is sure?</h2>",
        page.figure(draw_reliability(result.calibration, title=""), "share right against confidence"),
        page.classes_table(*result.per_class()),
    ]


def _pictures(result: "ClassifyEvaluation") -> str:
    parts = []
    for heading, right in (("Most confident mistakes", False), ("Most confident right answers", True)):
        rows = surest(result, THUMBNAILS, right=right)
        if rows:
            shown = "".join(_picture(result, row) for row in rows)
            parts.append(f'<h2>{heading}</h2><div class="pictures">{shown}</div>')
    return "".join(parts)


def _picture(result: "ClassifyEvaluation", row: int) -> str:
    position, classes = int(result.positions[row]), result.classes
    guess, truth = int(result.predicted[row]), int(result.labels[row])
    verdict = "right" if guess == truth else "wrong"
    said = f"{page.escape(readable(classes[guess]))} {percent(result.confidence[row].item())}"
    caption = f'<span class="{verdict}">{said}</span>'
    if guess != truth:
        caption += f"<br>is {page.escape(readable(classes[truth]))}"
    return page.picture(thumbnail(result.pictures[position][0], SIDE), result.pictures.name(position), caption)
