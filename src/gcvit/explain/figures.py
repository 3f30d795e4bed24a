"""Figures like the paper's Figures 7 and S.1, for print."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gcvit.engine.figures import FAINT, GREY, MARKS, sheet, tidy
from gcvit.explain.reach import Reach
from gcvit.model.config import STAGES

MAP_COLOURS = "inferno"  # even to the eye, in grey print and to the colour-blind
SIGNED_COLOURS = "PuOr"  # the same, with a middle
VEIL = 0.62  # opacity of a map over its picture
SIDE, CAPTION, BAR = 1.55, 0.2, 0.07  # inches of a panel, what stands below it, and a colour bar
BRIGHTEST = 99.5  # percentile of a column's values that its colours end at
SMALL = 8  # points


@dataclass(frozen=True)
class Column:
    """A panel for each picture. maps: (rows, columns) each."""

    title: str
    maps: Sequence[NDArray[np.float32]]


@dataclass(frozen=True)
class Row:
    """A picture as the model sees it, uint8 (height, width, 3). caption: what stands below it. point: (x, y) in its
    pixels, to be marked. box: left, top, right, lower edge."""

    picture: NDArray[np.uint8]
    caption: str
    point: tuple[float, float] | None = None
    box: tuple[float, float, float, float] | None = None


def draw_maps(rows: Sequence[Row], columns: Sequence[Column]) -> Figure:
    """The pictures, each a row, beside their maps (Figure 7). Every map is drawn in units of its mean, so that 1 is an
    even share; a column has one scale and one colour bar."""
    figure, panels, bars = _panels(rows, len(columns), len(columns))
    for at, column in enumerate(columns):
        even = [found / max(float(found.mean()), 1e-12) for found in column.maps]
        top = max(1.0, float(np.percentile(np.concatenate([x.ravel() for x in even]), BRIGHTEST)))
        norm = Normalize(0, top)
        for axes, row, found in zip(panels[:, 1 + at], rows, even, strict=True):
            _veiled(axes, row, found, norm)
        panels[0, 1 + at].set_title(column.title, fontsize=SMALL)
        _bar(figure, bars[at], ScalarMappable(norm, MAP_COLOURS), "times an even share")
    return figure


def draw_components(rows: Sequence[Row], stages: Sequence[Sequence[NDArray[np.float32]]]) -> Figure:
    """The pictures beside each stage's global query, its first three principal components as red, green and blue
    (Figure S.1). stages: for each stage, (rows, columns, 3) for each picture, on one scale."""
    figure, panels, _ = _panels(rows, len(stages), 0)
    for stage, found in enumerate(stages):
        values = np.concatenate([x.reshape(-1, x.shape[-1]) for x in found])
        low, high = np.percentile(values, [1, 99], axis=0)
        for axes, x in zip(panels[:, 1 + stage], found, strict=True):
            axes.imshow(np.clip((x - low) / np.maximum(high - low, 1e-12), 0, 1), interpolation="nearest")
        panels[0, 1 + stage].set_title(f"query of stage {stage}\n{x.shape[0]}×{x.shape[1]} tokens", fontsize=SMALL)
    return figure


def draw_channels(rows: Sequence[Row], found: Sequence[NDArray[np.float32]], stage: int, most: int = 6) -> Figure:
    """The pictures beside the channels of a stage's query that vary most over all of them. found: (rows, columns,
    channels) for each picture."""
    values = np.concatenate([x.reshape(-1, x.shape[-1]) for x in found])
    chosen = np.argsort(-values.std(0))[:most]
    figure, panels, (bar,) = _panels(rows, len(chosen), 1)
    top = float(np.percentile(np.abs(values[:, chosen]), BRIGHTEST))
    norm = Normalize(-top, top)
    for at, channel in enumerate(chosen):
        for axes, x in zip(panels[:, 1 + at], found, strict=True):
            axes.imshow(x[..., channel], cmap=SIGNED_COLOURS, norm=norm, interpolation="nearest")
        panels[0, 1 + at].set_title(f"channel {channel}", fontsize=SMALL)
    panels[0, 1].set_title(f"query of stage {stage}:\nchannel {chosen[0]}", fontsize=SMALL)
    _bar(figure, bar, ScalarMappable(norm, SIGNED_COLOURS), "value of a query token")
    return figure


def draw_reach(found: Sequence[Reach]) -> Figure:
    """How far blocks reach over depth: the reach, the share from outside the own window, and the distance of attention,
    each beside what an even spread would be. Each stage has the same width; its blocks are spread over it. The first
    model also by values alone, and its global blocks filled."""
    first = found[0]
    figure = sheet(10, 3.6)
    far, outside, attention = figure.subplots(1, 3)
    for axes, what, scale in ((far, "reach", 1), (outside, "outside", 100)):
        axes.plot(_depth(first), scale * first.numbers[f"even {what}"], ":", color=GREY, label="an even field")
        _line(axes, first, scale * first.numbers[what], first.name, MARKS[0])
        _line(axes, first, scale * first.numbers[f"{what} by values"], f"{first.name}, by values alone", MARKS[1])
        for one, mark in zip(found[1:], cycle(MARKS[2:])):
            _line(axes, one, scale * one.numbers[what], one.name, mark)
    attention.plot(_depth(first), first.numbers["even attention"], ":", color=GREY)
    _line(attention, first, first.numbers["attention"], first.name, MARKS[0])
    for axes, title, unit in (
        (far, "reach of a token's gradient", "pixels"),
        (outside, "its share from outside the own window", "percent"),
        (attention, "attention distance, within windows", "pixels"),
    ):
        axes.set_title(title, fontsize=SMALL + 1)
        axes.set_ylabel(unit, fontsize=SMALL)
        axes.set_xticks(np.arange(STAGES) + 0.5, [f"stage {s}\n{4 * 2**s} px" for s in range(STAGES)])
        axes.tick_params(labelsize=SMALL - 1, length=2)
        axes.set_xlim(0, STAGES)
        axes.set_ylim(0, None)
        axes.vlines(np.arange(1, STAGES), 0, 1, transform=axes.get_xaxis_transform(), color=FAINT, linewidth=0.8)
        tidy(axes)
    far.plot([], [], "o", color=GREY, markersize=4, label="filled: a global block")
    handles, labels = far.get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=SMALL, loc="outside lower center", ncols=4)
    return figure


def _depth(one: Reach) -> NDArray[np.float64]:
    """Where its blocks lie: each stage from its number to the next."""
    stages = np.array(one.stages)
    order = [int((stages[:n] == stage).sum()) for n, stage in enumerate(stages)]
    return stages + (np.array(order) + 0.5) / np.array([(stages == stage).sum() for stage in stages])


def _line(axes: Axes, one: Reach, values: NDArray[np.float64], name: str, mark: tuple[str, str, str]) -> None:
    """Markers of global blocks are filled."""
    (colour, marker, line), place = mark, _depth(one)
    whole = np.array([kind == "global" for kind in one.kinds])
    axes.plot(place, values, line, color=colour, marker=marker, markersize=4, markerfacecolor="w", label=name)
    axes.plot(place[whole], values[whole], marker, color=colour, markersize=4)


def _panels(rows: Sequence[Row], maps: int, bars: int) -> tuple[Figure, np.ndarray, list[Axes]]:
    """Axes (rows, 1 + maps), the first of each row with its picture; and below them so many for colour bars, one for
    each map or one for all."""
    shapes = [min(max(row.picture.shape[0] / row.picture.shape[1], 0.4), 2.5) for row in rows]
    heights = [SIDE * shape + CAPTION for shape in shapes]
    below = [BAR] if bars else []
    size = (SIDE * (1 + maps) + 0.1, sum(heights) + 0.35 + (BAR + 0.4 if bars else 0))
    figure = Figure(figsize=size)
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.015, wspace=0.01, hspace=0.0)
    grid = figure.add_gridspec(len(rows) + len(below), 1 + maps, height_ratios=heights + below)
    panels = np.array([[figure.add_subplot(grid[at, n]) for n in range(1 + maps)] for at in range(len(rows))])
    places = [slice(1, None)] if bars == 1 else [slice(1 + n, 2 + n) for n in range(bars)]
    for axes in panels.flat:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
    for axes, row in zip(panels[:, 0], rows, strict=True):
        axes.imshow(row.picture)
        axes.set_xlabel(row.caption, fontsize=SMALL - 1, parse_math=False)
        _marks(axes, row)
    panels[0, 0].set_title("input", fontsize=SMALL)
    return figure, panels, [figure.add_subplot(grid[-1, place]) for place in places]


def _veiled(axes: Axes, row: Row, found: NDArray[np.float32], norm: Normalize) -> None:
    height, width = row.picture.shape[:2]
    grey = row.picture @ np.array([0.299, 0.587, 0.114])
    axes.imshow(grey, cmap="gray", vmin=0, vmax=255)
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    axes.imshow(found, cmap=MAP_COLOURS, norm=norm, alpha=VEIL, extent=extent, interpolation="bilinear")
    axes.set(xlim=extent[:2], ylim=extent[2:])
    _marks(axes, row)


def _marks(axes: Axes, row: Row) -> None:
    """White on black, so that they are seen on anything."""
    for colour, width in (("black", 3.0), ("white", 1.2)):
        if row.point is not None:
            x, y = row.point
            axes.plot(x - 0.5, y - 0.5, "o", color=colour, markersize=7, fillstyle="none", markeredgewidth=width)
        if row.box is not None:
            left, top, right, bottom = row.box
            axes.plot([left, right, right, left, left], [top, top, bottom, bottom, top], color=colour, linewidth=width)


def _bar(figure: Figure, axes: Axes, colours: ScalarMappable, label: str) -> None:
    bar = figure.colorbar(colours, cax=axes, orientation="horizontal")
    axes.tick_params(labelsize=SMALL - 1.5, length=2)
    bar.set_label(label, fontsize=SMALL - 1.5)
    bar.outline.set_visible(False)
