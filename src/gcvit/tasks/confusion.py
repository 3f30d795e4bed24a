"""A table of which classes are taken for which, drawn."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from torch import Tensor

LABELLED = 25  # classes whose cells still hold a legible number


def draw_table(matrix: Tensor, columns: Sequence[str], rows: Sequence[str], *, what: str, wrong: str) -> Figure:
    """Every cell with its share of the row, in per cent.

    matrix: whole counts (classes, classes), truth by prediction. columns, rows: names. what: the rows' title.
    wrong: the colour of mistakes.
    """
    count = len(columns)
    shares = matrix / matrix.sum(1, keepdim=True).clamp(min=1)
    side = 2.2 + 0.42 * max(count, 4)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    size = 9 if count <= 12 else 8
    for row, column in matrix.nonzero().tolist():
        share = shares[row, column].item()
        text = f"{100 * share:.0f}" if share >= 0.005 else "<1"
        colour = "white" if share > 0.55 else wrong if row != column else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)
    places = range(count)
    axes.set_xticks(places, columns, rotation=90, fontsize=size + 1, parse_math=False)
    axes.set_yticks(places, rows, fontsize=size + 1, parse_math=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("taken for, in per cent of the row")
    axes.set_ylabel(what)
    return figure
