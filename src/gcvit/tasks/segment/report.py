"""The parts of a report that only a segmentation model's has: scenes in colours, classes, confusions."""

from pathlib import Path
from typing import TYPE_CHECKING

from gcvit.tasks import page
from gcvit.tasks.confusion import LABELLED
from gcvit.tasks.segment.charts import draw_confusion, draw_ious
from gcvit.tasks.segment.pictures import draw_sheet

if TYPE_CHECKING:
    from gcvit.tasks.segment.evaluation import SceneResult, SegmentEvaluation


def sections(result: "SegmentEvaluation") -> list[str]:
    """HTML; see `gcvit.tasks.evaluation.Evaluation.sections`."""
    counts, mistakes = result.counts, result.confused(10)
    few = int((counts.confusion.sum(0) + counts.confusion.sum(1)).count_nonzero()) <= LABELLED
    return [
        *(_sheet(result, heading, images) for heading, images in shown(result)),
        page.classes_table(*result.per_class()),
        page.figure(draw_ious(counts, result.classes, title=""), "IoU of the classes"),
        "<h2>What is taken for what</h2>",
        page.figure(draw_confusion(counts, result.classes, title=""), "confusion of classes") if few else "",
        page.table(mistakes.headings, mistakes.rows) if mistakes.rows else "",
    ]


def shown(result: "SegmentEvaluation") -> list[tuple[str, list[tuple[str, "SceneResult"]]]]:
    """The images to look at, in groups: (heading, (name, result))."""
    groups = {"the worst": result.worst, "near the median": result.middling, "the best": result.best}
    return [
        (heading, [(Path(result.pictures.name(image.position)).name, image) for image in images])
        for heading, images in groups.items()
        if images
    ]


def _sheet(result: "SegmentEvaluation", heading: str, images: "list[tuple[str, SceneResult]]") -> str:
    figure = draw_sheet(images, result, title="")
    sheet = page.figure(figure, f"pictures, truth and prediction: {heading}", kind="jpeg")
    return f"<h2>Images: {heading}</h2>{sheet}"
