"""A table of which classes are taken for which, drawn."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import Tensor

LABELLED = 25  # classes whose cells still hold a legible number


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
    figure = Figure(figsize=(side + 0.3, side), layout="constrained")
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


# Where black and white stand out as much, by WCAG 2's measure of contrast.
BLACK_ON = (1.05 * 0.05) ** 0.5 - 0.05


def luminance(colour: np.ndarray) -> float:
    """Relative luminance (0 … 1) of an sRGB colour (3 numbers, 0 … 1)."""
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))
