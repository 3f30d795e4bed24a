"""Sample predictions, on a sheet and on a page: what a person would rather see than read."""

from collections import Counter
from typing import TYPE_CHECKING

import torch
from matplotlib.figure import Figure
from torch import Tensor

from gcvit.tasks import page
from gcvit.tasks.classify.names import readable, short
from gcvit.tasks.confusion import RIGHT, WRONG
from gcvit.tasks.pictures import thumbnail
from gcvit.wording import percent

if TYPE_CHECKING:
    from gcvit.tasks.classify.evaluation import ClassifyEvaluation

COLUMNS = 8
SAMPLES, MISTAKES = 24, 8
CARDS = 12  # of a kind on a page


def draw_predictions(result: "ClassifyEvaluation", *, title: str) -> Figure:
    """Some of the images, with what the model took them for and how sure it was.

    Samples are spread evenly over the classes, whatever the result; the most confident mistakes follow.
    """
    images, classes = result.pictures, result.classes
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
            text = f"{short(classes[guess])} {percent(result.confidence[index].item())}"
            if guess != right:
                text = f"✗ {text}\nis {short(classes[right])}"
            colour = RIGHT if guess == right else WRONG
            axes.set_title(text, fontsize=9, color=colour, pad=3, parse_math=False)
    return figure


def cards(result: "ClassifyEvaluation", heading: str, *, right: bool) -> str:
    """The surest right guesses or the surest mistakes under a heading, as HTML; "" where there are none."""
    shown = []
    for row in surest(result, CARDS, right=right):
        position = int(result.positions[row])
        guess, truth = (result.classes[int(labels[row])] for labels in (result.predicted, result.labels))
        said = f"{page.escape(readable(guess))} {percent(result.confidence[row].item())}"
        caption = f'<span class="{"right" if right else "wrong"}">{said}</span>'
        if not right:
            caption += f"<br>is {page.escape(readable(truth))}"
        shown.append(page.picture(thumbnail(result.pictures[position][0]), result.pictures.name(position), caption))
    return f'<h2>{heading}</h2><div class="pictures">{"".join(shown)}</div>' if shown else ""


def surest(result: "ClassifyEvaluation", count: int, *, right: bool) -> list[int]:
    """Rows of `result` with the most confident right guesses, or the most confident mistakes, the surest first.

    Right guesses take turns: the surest of each class come before any class's second, as one alone could fill a page.
    """
    rows = (result.right == right).nonzero().flatten()
    rows = rows[result.confidence[rows].argsort(descending=True, stable=True)]
    if right:
        seen: Counter[int] = Counter()
        turns = []
        for label in result.labels[rows].tolist():
            turns.append(seen[label])
            seen[label] += 1
        rows = rows[torch.tensor(turns, dtype=torch.int64).argsort(stable=True)]
    return rows[:count].tolist()


def _spread(truth: Tensor, count: int) -> list[int]:
    """Up to `count` indices, the classes in turn."""
    order = torch.argsort(truth, stable=True)
    picks = torch.linspace(0, len(order) - 1, min(count, len(order))).round().long()
    return order[picks].tolist()
