"""Figure 1: accuracy against what it costs, in arithmetic and parameters, or in time and memory on this machine."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from gcvit.bench.peak import Measuring, measure
from gcvit.bench.published import table_1
from gcvit.bench.report import Grid, Page, Say
from gcvit.bench.tables import classifier, cost_of
from gcvit.engine.figures import GREY, MARKS, sheet, tidy

SIZE = 224  # pixels
COSTS = ("multiply-adds, 10⁹", "parameters, 10⁶", "images a second", "peak memory, MB")
MORE_IS_BETTER = COSTS[2]
REPEATED = "CoAtNet-2"
NOTES = (
    "*: on the Pareto front; †: as printed, since the model is not at hand to be counted;",
    "top-1 as published by whom gcvit tables 1 says",
    f"{REPEATED} is left out: its row repeats CoAtNet-1's figures",
)
FAMILIES = ("GC ViT", "Swin", "ConvNeXt", "CSwin", "Focal", "CoAtNet", "PVT-v2")  # the rest are others


@dataclass(frozen=True)
class Point:
    """A model of Table 1. top1: as published, in per cent. costs: by the names in `COSTS`; counted here where the model
    is at hand, else as published; measured only where it is. counted: whether it is."""

    method: str
    top1: float
    costs: dict[str, float]
    counted: bool = True

    @property
    def family(self) -> str:
        """One of `FAMILIES`, or "others"."""
        return next((family for family in FAMILIES if self.method.startswith(family)), "others")


def points(say: Say, measuring: Measuring | None = None) -> list[Point]:
    """Of every line of Table 1 but CoAtNet-2's, which repeats CoAtNet-1's figures; with `measuring`, time and memory of
    the models that are at hand, ours folded."""
    found = []
    for line in table_1():
        if line.method == REPEATED:
            continue
        say(f"counting {line.method}")
        cost = {name: value for name, value in line.values.items() if value is not None}
        cost |= {} if line.model is None else cost_of(line.model)
        costs = {COSTS[0]: cost["GFLOPs"], COSTS[1]: cost["M params"]}
        if measuring is not None and line.model is not None:
            say(f"measuring {line.method}")
            (spent,) = measure(classifier, [line.model], [SIZE], measuring)
            costs[COSTS[2]] = 1e3 * measuring.batch / spent.milliseconds
            if spent.peak_bytes is not None:
                costs[COSTS[3]] = spent.peak_bytes / 1e6
        found.append(Point(line.method, cost["top-1"], costs, counted=line.model is not None))
    return found


def front(found: Sequence[Point], cost: str) -> list[Point]:
    """Those that no other beats: none is as accurate or better at the same cost or less; the cheapest first."""
    sign = -1 if cost == MORE_IS_BETTER else 1
    best: list[Point] = []
    for point in sorted((p for p in found if cost in p.costs), key=lambda p: (sign * p.costs[cost], -p.top1)):
        if not best or point.top1 > best[-1].top1:
            best.append(point)
    return best


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


def as_json(machine: Mapping[str, str], measuring: Measuring, found: Sequence[Point]) -> dict[str, object]:
    """All of it, as plain JSON types."""
    return {"machine": machine, "measuring": asdict(measuring), "points": [asdict(point) for point in found]}


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
