"""Pictures of a run. Drawn with matplotlib's objects, without its global state or a display."""

from collections.abc import Sequence
from io import BytesIO
from math import nan
from pathlib import Path
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gcvit.engine.log import PART
from gcvit.files import write_atomically

GREY, FAINT = "#8a8f98", "#d9dce1"
TRAIN_COLOUR, HELD_OUT_COLOUR = GREY, "#1f5fbf"
# Colours that the colour-blind tell apart (Okabe and Ito, 2008), each with a marker and a line of its own.
MARKS = (
    ("#0072b2", "o", "-"),
    ("#56b4e9", "s", "--"),
    ("#d55e00", "^", "-."),
    ("#009e73", "D", ":"),
    ("#cc79a7", "v", "-"),
    ("#e69f00", "P", "--"),
    ("#000000", "X", "-."),
    (GREY, ".", ":"),
)
LEAST_SPAN = 0.01  # of an axis: smaller differences are no differences


def sheet(width: float, height: float, title: str = "") -> Figure:
    """A figure of so many inches, whose parts make room for each other."""
    figure = Figure(figsize=(width, height), layout="constrained")
    if title:
        figure.suptitle(title, fontsize=11, parse_math=False)  # a folder's name may hold dollars
    return figure


def tidy(axes: Axes, grid: Literal["both", "x"] | None = None) -> None:
    """Without a frame, and with faint lines behind what is drawn; where these are across bars alone, without the line
    that the bars begin at."""
    axes.spines[["top", "right", *(["left"] if grid == "x" else [])]].set_visible(False)
    if grid is not None:
        axes.grid(axis=grid, color=FAINT, linewidth=0.6)
        axes.set_axisbelow(True)


def save_figure(figure: Figure, path: Path, *, dpi: int = 160) -> None:
    """Write a figure as PNG, PDF or SVG, by the path's suffix, atomically; the same figure is the same file."""
    content, kind = BytesIO(), path.suffix.removeprefix(".")
    with rc_context({"svg.hashsalt": path.stem}):
        dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
        FigureCanvasAgg(figure).print_figure(content, dpi=dpi, format=kind, metadata=dates.get(kind))
    write_atomically(path, content.getvalue())


def draw_curves(events: Sequence[dict[str, Any]], *, scores: dict[str, str], title: str, unit: str = "epoch") -> Figure:
    """Loss, with its parts where there are several, and scores over a run, from a log's events, side by side.

    scores: metric (a share of one) -> its name in the legend, in the order in which to draw them. unit: what the run is
    counted in, "epoch" or "step".
    """
    figure = sheet(10, 4, title)
    loss_axes, score_axes = figure.subplots(1, 2)
    _loss(loss_axes, events, unit)
    _scores(score_axes, events, scores, unit)
    return figure


def draw_each_curve(events: Sequence[dict[str, Any]], *, scores: dict[str, str], unit: str = "epoch") -> list[Figure]:
    """The two halves of `draw_curves`, a figure each, for where there is no room for both in a row."""
    figures = [sheet(5, 3.6) for _ in range(2)]
    _loss(figures[0].subplots(), events, unit)
    _scores(figures[1].subplots(), events, scores, unit)
    return figures


def _loss(axes: Axes, events: Sequence[dict[str, Any]], unit: str) -> None:
    steps = [event for event in events if event["event"] == "steps"]
    held_out = [event for event in events if event["event"] == "evaluation"]
    per_unit = 1 if unit == "step" else max((event["step"] / event["epoch"] for event in steps), default=1)
    places = [event["step"] / per_unit for event in steps]
    look: dict[str, Any] = {"color": TRAIN_COLOUR, "marker": "." if len(places) == 1 else ""}  # no line has one point
    axes.plot(places, _values(steps, "loss"), linewidth=1, label="training (augmented)", **look)
    for number, part in enumerate(name for name in (steps[-1] if steps else {}) if name.startswith(PART)):
        style, name = ("--", ":", "-.")[number % 3], f"its part {part.removeprefix(PART)}"
        axes.plot(places, _values(steps, part), linestyle=style, linewidth=0.8, label=name, **look)
    if any(event.get("loss") is not None for event in held_out):
        losses = _values(held_out, "loss")
        epochs = [event[unit] for event in held_out]
        axes.plot(epochs, losses, color=HELD_OUT_COLOUR, marker="o", markersize=4, label="held-out")
    axes.set_ylabel("loss")
    _finish(axes, unit)


def _scores(axes: Axes, events: Sequence[dict[str, Any]], scores: dict[str, str], unit: str) -> None:
    held_out = [event for event in events if event["event"] == "evaluation"]
    places = [event[unit] for event in held_out]
    for style, (metric, name) in zip(("-", ":", "--"), scores.items(), strict=False):
        axes.plot(places, _values(held_out, metric), style, color=HELD_OUT_COLOUR, marker="o", markersize=4, label=name)
    axes.set_ylabel("held-out score")
    axes.yaxis.set_major_formatter(lambda share, place: f"{100 * share:.4g}%")
    _finish(axes, unit)
    best = [event for event in held_out if event["best"]]
    if best:
        x, y = best[-1][unit], best[-1][next(iter(scores))]
        axes.scatter([x], [y], s=90, facecolors="none", edgecolors=HELD_OUT_COLOUR)
        text, above = f"best: {y:.1%}, {unit} {x:,}", axes.transAxes
        axes.text(1, 1.02, text, transform=above, horizontalalignment="right", verticalalignment="bottom")


def _finish(axes: Axes, unit: str) -> None:
    """Axes that fit what is drawn: the difference between 96% and 99% is seen, and so is a single point."""
    axes.set_xlabel(unit)
    axes.set_xlim(0, None)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.margins(y=0.08)
    low, high = axes.dataLim.intervaly
    if 0 <= high - low < LEAST_SPAN:  # below 0 where nothing is drawn
        axes.set_ylim(high - 0.9 * LEAST_SPAN, high + 0.1 * LEAST_SPAN)
    tidy(axes, "both")
    axes.legend(frameon=False, loc="best")


def _values(events: Sequence[dict[str, Any]], name: str) -> list[float]:
    """A value of each event; nan, which is not drawn, where it has none."""
    return [nan if event.get(name) is None else event[name] for event in events]
