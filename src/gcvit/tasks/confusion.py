"""Which classes are taken for which, drawn: as a table, or the most confused pairs as bars."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from gcvit.engine.figures import sheet, tidy

LABELLED = 25  # classes whose cells still hold a legible number
PAIRS = 20
RIGHT, WRONG = "#1a7f37", "#c1121f"  # as in page.py


def draw_table(matrix: Tensor, columns: Sequence[str], rows: Sequence[str], *, what: str) -> Figure:
    """Every cell with its share of the row, in per cent: what is right on blue ground, mistakes on orange.

    matrix: whole counts (classes, classes), truth by prediction. columns, rows: names. what: the rows' title.
    """
    count = len(columns)
    shares = (matrix / matrix.sum(1, keepdim=True).clamp(min=1)).numpy()
    right = np.eye(count, dtype=bool)[..., None]
    grounds = np.where(right, colormaps["Blues"](shares), colormaps["Oranges"](shares))[..., :3]
    grounds[shares == 0] = 1
    side = 2.0 + 0.34 * max(count, 4)
    figure = sheet(side + 0.3, side)
    axes = figure.subplots()
    axes.imshow(grounds)
    for row, column in matrix.nonzero().tolist():
        share = shares[row, column]
        text = f"{100 * share:.0f}" if share >= 0.005 else "<1"
        colour = "black" if luminance(grounds[row, column]) > BLACK_ON else "white"
        axes.text(column, row, text, ha="center", va="center", fontsize=9, color=colour)
    places = range(count)
    axes.set_xticks(places, columns, rotation=90, fontsize=9, parse_math=False)
    axes.set_yticks(places, rows, fontsize=9, parse_math=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("taken for, in per cent of the row")
    axes.set_ylabel(what)
    return figure


def draw_pairs(axes: Axes, names: Sequence[str], lengths: Sequence[float], texts: Sequence[str]) -> None:
    """At most `PAIRS` bars, the longest on top, each with a text at its end."""
    axes.barh(range(len(names)), lengths, color=WRONG, height=0.7)
    axes.set_ylim(PAIRS - 0.5, -0.5)
    axes.set_yticks(range(len(names)), names, fontsize=9, parse_math=False)
    for row, (length, text) in enumerate(zip(lengths, texts, strict=True)):
        axes.text(length, row, f" {text}", va="center", fontsize=8, color="#555555")
    axes.set_xlim(0, 1.45 * max(lengths, default=1))
    tidy(axes)


# Where black and white stand out as much, by WCAG 2's measure of contrast.
BLACK_ON = (1.05 * 0.05) ** 0.5 - 0.05


def luminance(colour: np.ndarray) -> float:
    """Relative luminance (0 … 1) of an sRGB colour (3 numbers, 0 … 1)."""
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))
