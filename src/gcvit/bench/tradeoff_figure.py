"""Figure 1 as a picture, for a column of a paper, or for its whole width."""

from collections.abc import Sequence
from math import ceil

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from gcvit.bench.tradeoff import COSTS, FAMILIES, Point, front
from gcvit.engine.figures import FAINT, GREY, MARKS


def draw(found: Sequence[Point]) -> Figure:
    """A panel for each cost that is known, with the Pareto front as a line; GC ViT's sizes are named."""
    costs = [cost for cost in COSTS if any(cost in point.costs for point in found)]
    across = 1 if len(costs) < 3 else 2
    down = ceil(len(costs) / across)
    figure = Figure(figsize=(3.4 * across, 2.1 * down + 0.9), layout="constrained")
    panels = [figure.add_subplot(down, across, place) for place in range(1, len(costs) + 1)]
    for axes, cost in zip(panels, costs, strict=True):
        _panel(axes, found, cost)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=7, loc="outside upper left", ncols=3 * across)
    return figure


def _panel(axes: Axes, found: Sequence[Point], cost: str) -> None:
    known = [point for point in found if cost in point.costs]
    best = front(known, cost)
    line = [p.costs[cost] for p in best], [p.top1 for p in best]
    axes.plot(*line, color=GREY, linewidth=0.9, label="Pareto front")
    for family, (colour, marker, _) in zip((*FAMILIES, "others"), MARKS, strict=True):
        own = sorted((p for p in known if p.family == family), key=lambda p: p.costs[cost])
        size, order = (22, 3) if family == "GC ViT" else (13, 2)
        places = [p.costs[cost] for p in own], [p.top1 for p in own]
        axes.scatter(*places, s=size, color=colour, marker=marker, label=family, zorder=order, linewidths=0.3)
        if family == "GC ViT":
            for point in own:
                name = point.method.removeprefix("GC ViT-")
                at = (point.costs[cost], point.top1)
                axes.annotate(name, at, (0, 4), textcoords="offset points", ha="center", fontsize=6, color=colour)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda cost, _: f"{cost:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(cost, fontsize=8)
    axes.set_ylabel("top-1, %", fontsize=8)
    axes.set_ylim(min(p.top1 for p in known) - 0.5, max(p.top1 for p in known) + 0.8)
    axes.tick_params(labelsize=7, which="both")
    axes.grid(color=FAINT, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
