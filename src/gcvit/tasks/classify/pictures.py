"""A sheet of sample predictions: what a person would rather see than read."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from gcvit.tasks.classify.data import Pictures

COLUMNS = 8
SAMPLES, MISTAKES = 24, 8
RIGHT, WRONG = "#1a7f37", "#c1121f"


def draw_predictions(
    images: Pictures,
    labels: Sequence[str],
    truth: Tensor,
    predicted: Tensor,
    confidence: Tensor,
    *,
    title: str,
) -> Figure:
    """Some of `images` with what the model took them for and how sure it was.

    Samples are spread evenly over the classes, whatever the result; the most confident mistakes follow.
    truth, predicted, confidence: (images,), of the same order as `images`.
    """
    wrong = (truth != predicted).nonzero().flatten()
    worst = wrong[confidence[wrong].argsort(descending=True, stable=True)][:MISTAKES].tolist()
    samples = _spread(truth, SAMPLES)
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
            axes.imshow(_thumbnail(images[index][0]), interpolation="nearest")
            guess, right = int(predicted[index]), int(truth[index])
            text = f"{_short(labels[guess])} {confidence[index]:.0%}"
            if guess != right:
                text = f"✗ {text}\nis {_short(labels[right])}"
            colour = RIGHT if guess == right else WRONG
            axes.set_title(text, fontsize=9, color=colour, pad=3, parse_math=False)
    return figure


def _spread(truth: Tensor, count: int) -> list[int]:
    """Up to `count` indices, the classes in turn."""
    order = torch.argsort(truth, stable=True)
    picks = torch.linspace(0, len(order) - 1, min(count, len(order))).round().long()
    return order[picks].tolist()


def _thumbnail(image: Image.Image, side: int = 160) -> Image.Image:
    """The image, made smaller where it is large, padded to a square."""
    image = image.copy()
    image.thumbnail((side, side))
    sheet = Image.new("RGB", (max(image.size),) * 2, "white")
    sheet.paste(image, ((sheet.width - image.width) // 2, (sheet.height - image.height) // 2))
    return sheet


def _short(label: str) -> str:
    return label if len(label) <= 16 else label[:15] + "…"
