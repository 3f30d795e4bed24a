"""Figure 1 for people: a table, and a picture for a column of a paper, or for its whole width."""

from collections.abc import Sequence
from math import ceil

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from gcvit.bench.report import Grid, Page
from gcvit.bench.tradeoff import COSTS, FAMILIES, REPEATED, Point, front
from gcvit.engine.figures import GREY, MARKS, sheet, tidy

NOTES = (
    "*: on the Pareto front; †: as printed, since the model is not at hand to be counted;",
    "top-1 as published by whom gcvit tables 1 says",
    f"{REPEATED} is left out: its row repeats CoAtNet-1's figures",
)


def page(found: Sequence[Point], machine: Sequence[tuple[str, str]]) -> Page:
    """A row for each model. machine: that of a measurement, if there was one."""
    costs = known_costs(found)
    fronts = {cost: front(found, cost) for cost in costs}
    rows = []
    for point in found:
        figures = []
        for cost in costs:
            marks = ("" if point.counted else "†") + ("*" if point in fronts[cost] else "")
            figures.append(f"{point.costs[cost]:,.1f}{marks}" if cost in point.costs else "")
        rows.append([point.method, f"{point.top1:.1f}", *figures])
    return Page("", [Grid("", ["", ">top-1", *(f">{cost}" for cost in costs)], rows)], NOTES, machine)


def known_costs(found: Sequence[Point]) -> list[str]:
    """Those of `COSTS` that any point has."""
    return [cost for cost in COSTS if any(cost in point.costs for point in found)]


def draw(found: Sequence[Point]) -> Figure:
    """A panel for each cost that is known, with the Pareto front as a line; GC ViT's sizes are named."""
    costs = known_costs(found)
    across = 1 if len(costs) < 3 else 2
    down = ceil(len(costs) / across)
    figure = sheet(3.4 * across, 2.1 * down + 0.9)
    panels = [figure.add_subplot(down, across, place) for place in range(1, len(costs) + 1)]
    for axes, cost in zip(panels, costs, strict=True):
        _panel(axes, found, cost)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=7, loc="outside upper left", ncols=3 * across)
    return figure


def _panel(axes: Axes, found: Sequence[Point], cost: str) -> None:
    known, best = [point for point in found if cost in point.costs], front(found, cost)
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
    tidy(axes, "both")
