"""Charts of an evaluation: which classes are taken for which, and whether the model is right as often as sure."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from torch import Tensor

from gcvit.engine.figures import FAINT, HELD_OUT_COLOUR, TRAIN_COLOUR, sheet, tidy
from gcvit.metrics import Calibration, confusion_matrix, most_confused
from gcvit.tasks.classify.names import short
from gcvit.tasks.confusion import LABELLED, PAIRS, WRONG, draw_pairs, draw_table

CELLS = 250  # of the heat map's side; more classes share cells


def draw_confusion(labels: Tensor, predicted: Tensor, names: Sequence[str], *, title: str) -> Figure:
    """Which classes are taken for which: up to 25 as a table, more as a heat map and the most confused pairs.

    labels, predicted: (images,) int64, indices into `names`. Only classes that occur among them are drawn.
    """
    occurring = torch.cat([labels, predicted]).unique()
    at = torch.searchsorted(occurring, labels), torch.searchsorted(occurring, predicted)
    shown = [names[label] for label in occurring.tolist()]
    draw = _table if len(shown) <= LABELLED else _overview
    figure = draw(*at, shown)
    figure.suptitle(title, fontsize=12, parse_math=False)
    return figure


def draw_reliability(calibration: Calibration, *, title: str) -> Figure:
    """Share right against confidence, bin by bin, over the number of images in each."""
    figure = sheet(5, 5, title)
    upper, lower = figure.subplots(2, 1, height_ratios=[3, 1], sharex=True)
    bins = len(calibration.images)
    left = torch.arange(bins) / bins
    filled = calibration.images > 0
    hits = (calibration.hits[filled] / calibration.images[filled]).tolist()
    sure = (calibration.confidence[filled] / calibration.images[filled]).tolist()
    upper.bar(left[filled].tolist(), hits, width=1 / bins, align="edge", color=HELD_OUT_COLOUR, edgecolor="white")
    upper.vlines(sure, hits, sure, color=WRONG, linewidth=2, label="too sure or not sure enough")
    upper.plot([0, 1], [0, 1], "--", color=TRAIN_COLOUR, linewidth=1, label="right as often as sure")
    upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="share right")
    upper.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    upper.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=9)
    lower.bar(left.tolist(), calibration.images.tolist(), width=1 / bins, align="edge", color=FAINT, edgecolor="white")
    lower.set(xlabel="confidence of the first guess", ylabel="images")
    lower.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    for axes in (upper, lower):
        tidy(axes)
    return figure


def _table(labels: Tensor, predicted: Tensor, names: Sequence[str]) -> Figure:
    """Every cell with its share of the row's images, in per cent."""
    matrix = confusion_matrix(labels, predicted, len(names))
    shown = [short(name, 20) for name in names]
    rows = [f"{name} ({images:,})" for name, images in zip(shown, matrix.sum(1).tolist(), strict=True)]
    return draw_table(matrix, shown, rows, what="class (images)")


def _overview(labels: Tensor, predicted: Tensor, names: Sequence[str]) -> Figure:
    """A heat map without names, and the most confused pairs with them."""
    count = len(names)
    pairs = most_confused(labels, predicted, PAIRS)
    images = torch.bincount(labels, minlength=count).tolist()
    figure = sheet(5.7, 10.5)
    heat_axes, bars = figure.subplots(2, 1, height_ratios=[1, 1.15])
    cells = min(count, CELLS)
    matrix = confusion_matrix(labels * cells // count, predicted * cells // count, cells)
    shares = matrix / matrix.sum(1, keepdim=True).clamp(min=1)  # of a row without images none
    heat = heat_axes.imshow(
        shares.sqrt().numpy(), cmap="Blues", vmin=0, vmax=1, interpolation="nearest", extent=(0, count, count, 0)
    )
    bar = figure.colorbar(heat, ax=heat_axes, shrink=0.8, ticks=[share**0.5 for share in (0, 0.05, 0.25, 0.5, 1)])
    bar.ax.set_yticklabels(["0", "5%", "25%", "50%", "100%"])
    together = "" if cells == count else f", {count / cells:.1f} to a cell"
    heat_axes.set(xlabel="taken for", ylabel=f"class, {count:,} in all{together}")

    bars.set_title("most confused pairs" if pairs else "no mistakes", fontsize=11)
    shown = [f"{short(names[truth], 16)} → {short(names[guess], 16)}" for truth, guess, _ in pairs]
    texts = [f"{n:,}, {n / images[truth]:.0%} of the class" for truth, _, n in pairs]
    draw_pairs(bars, shown, [n for *_, n in pairs], texts)
    bars.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    bars.set_xlabel("images")
    return figure
