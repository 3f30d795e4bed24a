"""Pictures of a run. Drawn with matplotlib's objects, without its global state or a display."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from gcvit.files import write_atomically

TRAIN_COLOUR, HELD_OUT_COLOUR, FAINT = "#8a8f98", "#1f5fbf", "#d9dce1"


def save_figure(figure: Figure, path: Path, *, dpi: int = 120) -> None:
    """Write a figure as PNG, atomically."""
    content = BytesIO()
    FigureCanvasAgg(figure).print_figure(content, dpi=dpi, format="png")
    write_atomically(path, content.getvalue())


def draw_curves(
    events: Sequence[dict[str, Any]], *, scores: dict[str, str], title: str, by_step: bool = False
) -> Figure:
    """Loss and scores over the epochs, or over the steps, from a log's events.

    scores: metric (a share of one) -> its name in the legend, in the order in which to draw them.
    """
    steps = [event for event in events if event["event"] == "steps"]
    held_out = [event for event in events if event["event"] == "evaluation"]
    unit = "step" if by_step else "epoch"
    per_unit = 1 if by_step else max((event["step"] / event["epoch"] for event in steps), default=1)
    places = [event[unit] for event in held_out]

    figure = Figure(figsize=(10, 4), layout="constrained")
    figure.suptitle(title, fontsize=11, parse_math=False)  # a folder's name may hold dollars
    loss_axes, score_axes = figure.subplots(1, 2)
    loss_axes.plot(
        [event["step"] / per_unit for event in steps],
        [event["loss"] for event in steps],
        color=TRAIN_COLOUR,
        linewidth=1,
        label="training (augmented)",
    )
    loss_axes.plot(places, [event["loss"] for event in held_out], color=HELD_OUT_COLOUR, marker=".", label="held-out")
    loss_axes.set(xlabel=unit, ylabel="loss", ylim=(0, None))
    for style, (metric, name) in zip(("-", ":", "--"), scores.items(), strict=False):
        values = [event[metric] for event in held_out]
        score_axes.plot(places, values, style, color=HELD_OUT_COLOUR, marker=".", label=name)
    score_axes.set(xlabel=unit, ylabel="held-out score", ylim=(0, 1.02))
    score_axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    best = [event for event in held_out if event["best"]]
    if best:
        metric = next(iter(scores))
        x, y = best[-1][unit], best[-1][metric]
        score_axes.annotate(
            f"best: {y:.1%}, {unit} {x:,}",
            (x, y),
            xytext=(-6, -22),
            textcoords="offset points",
            horizontalalignment="right",
            verticalalignment="top",
            arrowprops={"arrowstyle": "-", "color": TRAIN_COLOUR},
        )
    for axes in (loss_axes, score_axes):
        axes.set_xlim(0, None)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(color=FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="best")
    return figure
