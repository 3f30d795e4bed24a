"""A sheet of sample predictions: what a person would rather see than read."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from gcvit.tasks.classify.charts import RIGHT, WRONG
from gcvit.tasks.classify.data import Pictures
from gcvit.tasks.classify.evaluate import Evaluation
from gcvit.tasks.classify.names import short

COLUMNS = 8
SAMPLES, MISTAKES = 24, 8


def draw_predictions(images: Pictures, classes: Sequence[str], result: Evaluation, *, title: str) -> Figure:
    """Some of `images`, which `result` is of, with what the model took them for and how sure it was.

    Samples are spread evenly over the classes, whatever the result; the most confident mistakes follow.
    """
    samples, worst = _spread(result.labels, SAMPLES), surest(result, MISTAKES, right=False)
    rows = [("samples: what the model says, and how sure it is", samples)] + (
        [("most confident mistakes", worst)] if worst else []
    )

    heights = [-(-len(indices) // COLUMNS) for _, indices in rows]
    figure = Figure(figsize=(1.5 * COLUMNS, 1.8 * sum(heights) + 0.4 * len(rows) + 0.4), layout="constrained")
    figure.suptitle(title, fontsize=12, parse_math=False)
    parts = figure.subfigures(len(rows), 1, height_ratios=[h + 0.2 for h in heights], squeeze=False)[:, 0]
    for part, height, (heading, indices) in zip(parts, heights, rows, strict=True):
        part.suptitle(heading, x=0.01, ha="left", fontsize=10, color="#555555")
        cells = part.subplots(height, COLUMNS, squeeze=False).flatten()
        for axes in cells:
            axes.set_axis_off()
        for axes, index in zip(cells, indices, strict=False):
            axes.imshow(thumbnail(images[int(result.positions[index])][0]), interpolation="nearest")
            guess, right = int(result.predicted[index]), int(result.labels[index])
            text = f"{short(classes[guess])} {result.confidence[index]:.0%}"
            if guess != right:
                text = f"✗ {text}\nis {short(classes[right])}"
            colour = RIGHT if guess == right else WRONG
            axes.set_title(text, fontsize=9, color=colour, pad=3, parse_math=False)
    return figure


def surest(result: Evaluation, count: int, *, right: bool) -> list[int]:
    """Rows of `result` with the most confident right guesses, or the most confident mistakes, the surest first."""
    rows = (result.right == right).nonzero().flatten()
    return rows[result.confidence[rows].argsort(descending=True, stable=True)][:count].tolist()


def _spread(truth: Tensor, count: int) -> list[int]:
    """Up to `count` indices, the classes in turn."""
    order = torch.argsort(truth, stable=True)
    picks = torch.linspace(0, len(order) - 1, min(count, len(order))).round().long()
    return order[picks].tolist()


def thumbnail(image: Image.Image, side: int = 160) -> Image.Image:
    """The image, made smaller where it is large, padded to a square."""
    image = image.copy()
    image.thumbnail((side, side))
    sheet = Image.new("RGB", (max(image.size),) * 2, "white")
    sheet.paste(image, ((sheet.width - image.width) // 2, (sheet.height - image.height) // 2))
    return sheet
