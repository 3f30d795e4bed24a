"""Charts of a detector: pictures with truth and answer, precision over recall, what each kind of error costs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from gcvit.data.pixels import as_rgb
from gcvit.engine.figures import HELD_OUT_COLOUR, TRAIN_COLOUR, sheet, tidy
from gcvit.metrics.detection import SURE, DetectionFigures, Result
from gcvit.tasks.detect.pictures import DetectedObject, mark
from gcvit.wording import harmless

if TYPE_CHECKING:
    from gcvit.tasks.detect.evaluation import DetectEvaluation

COLOURS = {"box": TRAIN_COLOUR, "mask": HELD_OUT_COLOUR}
PANEL = 420  # pixels of a picture's longer side on a sheet
MEANINGS = {
    "class": "right place, wrong class",
    "place": "right class, box too far off",
    "both": "wrong class and box off",
    "double": "found twice",
    "background": "nothing is there",
    "missed": "not found",
}


def draw_sheet(evaluation: "DetectEvaluation", shown: Sequence[tuple[str, Result]], *, title: str) -> Figure:
    """Truth on the left and the answer on the right, of the surest detections; shown: (what is said of it, result)."""
    figure = sheet(9, 0.5 + 2.7 * max(1, -(-len(shown) // 2)), title)
    if not shown:
        return figure
    rows_of = figure.subplots(-(-len(shown) // 2), 4, squeeze=False)
    for axes in rows_of.flat:
        axes.set_axis_off()
    for place, (said, result) in enumerate(shown):
        image, truth = as_rgb(evaluation.pictures[result.position][0]), result.truth
        real = _objects(evaluation, truth.xywh, truth.labels, None, truth.masks)
        answer = _objects(evaluation, result.xywh, result.labels, result.scores, result.masks)
        answer = [one for one in answer if one.score is not None and one.score >= SURE]
        name = harmless(Path(evaluation.pictures.name(result.position)).name, keep="")
        panels = [(f"{name[-24:]}\ntruth", real), (f"\n{said}", answer)]
        for axes, (heading, objects) in zip(rows_of[place // 2, 2 * (place % 2) :], panels, strict=False):
            axes.imshow(mark(image, objects, PANEL))
            axes.set_title(heading, fontsize=8, parse_math=False)
    return figure


def _objects(
    evaluation: "DetectEvaluation",
    xywh: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray | None,
    masks: Sequence[bytes] | None,
) -> list[DetectedObject]:
    """As they are drawn."""
    nothing, palette = [None] * len(labels), evaluation.palette or []
    boxes = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1).tolist()
    rows = zip(labels, nothing if scores is None else scores.tolist(), boxes, masks or nothing, strict=True)
    return [
        DetectedObject(evaluation.classes[label], score, box, mask, palette[label]) for label, score, box, mask in rows
    ]


def draw_curves(kinds: Mapping[str, DetectionFigures], *, title: str) -> Figure:
    """Precision over recall, mean over classes, at IoU .5 and .75."""
    figure = sheet(5.7, 4.2, title)
    axes = figure.subplots()
    recall = np.linspace(0, 1, 101)
    for name, found in kinds.items():
        for iou, style in ((0.5, "-"), (0.75, "--")):
            curve = found.curve(iou=iou)
            if curve is not None:
                axes.plot(recall, curve, style, color=COLOURS[name], label=f"{name}, IoU {iou:g}")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    tidy(axes, "both")
    if axes.lines:
        axes.legend(frameon=False, fontsize=9, loc="lower left")
    return figure


def draw_errors(kinds: Mapping[str, DetectionFigures], *, title: str) -> Figure:
    """How much higher AP50 would be without each kind of error (Bolya et al., 2020)."""
    figure = sheet(5.7, 3.6, title)
    axes = figure.subplots()
    height = 0.8 / len(kinds)
    names = list(MEANINGS)
    for number, (kind, found) in enumerate(kinds.items()):
        places = np.arange(len(names)) + number * height
        costs = [found.errors[name].cost for name in names]
        axes.barh(places, costs, height=height, color=COLOURS[kind], label=kind)
        for place, name, cost in zip(places, names, costs, strict=True):
            axes.text(max(cost, 0), place, f" {found.errors[name].number:,}", va="center", fontsize=8)
    axes.set_yticks(np.arange(len(names)) + (len(kinds) - 1) * height / 2, [f"{n}: {MEANINGS[n]}" for n in names])
    axes.tick_params(axis="y", labelsize=8.5, length=0)
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    axes.set_xlabel("AP50 that they cost; beside the bars their number")
    axes.margins(x=0.12)
    tidy(axes)
    if len(kinds) > 1:
        axes.legend(frameon=False, fontsize=9)
    return figure
