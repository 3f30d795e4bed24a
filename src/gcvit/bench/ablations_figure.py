"""Steps in small against the paper's, as a picture for a column of a paper."""

from collections.abc import Sequence
from itertools import product

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from gcvit.bench.ablations import Step
from gcvit.engine.figures import FAINT, GREY, MARKS


def draw(found: Sequence[Step]) -> Figure:
    """A point for each step that both have, in points of the score, with its deviation over seeds; where the ground is
    shaded, the two have one direction."""
    figure = Figure(figsize=(3.4, 3.2), layout="constrained")
    axes = figure.subplots()
    points = []
    for table, (colour, marker, _) in zip(dict.fromkeys(step.table for step in found), MARKS, strict=False):
        own = [step for step in found if step.table == table]
        across, up = [step.published or 0.0 for step in own], [100 * step.step.mean for step in own if step.step]
        spread = [100 * (step.step.deviation or 0) for step in own if step.step]
        axes.errorbar(
            across, up, spread, fmt=marker, color=colour, markersize=4, linewidth=0.8, capsize=2, label=f"Table {table}"
        )
        beginning = f"table_{table.lower().replace('.', '')}_"
        points += [
            (step.arm.removeprefix(beginning), (x, y), colour) for step, x, y in zip(own, across, up, strict=True)
        ]
    axes.margins(0.18)
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    left, right, low, high = min(left, -0.1), max(right, 0.1), min(low, -0.1), max(high, 0.1)
    for corner in (left, low), (right, high):
        axes.fill_between([0, corner[0]], 0, corner[1], color=FAINT, alpha=0.5, linewidth=0, zorder=0)
    axes.axhline(0, color=GREY, linewidth=0.6)
    axes.axvline(0, color=GREY, linewidth=0.6)
    axes.set(xlim=(left, right), ylim=(low, high))
    axes.set_xlabel("the paper's step, points", fontsize=7)
    axes.set_ylabel("the step here, points", fontsize=7)
    axes.tick_params(labelsize=6.5)
    axes.spines[["top", "right"]].set_visible(False)
    figure.draw_without_rendering()  # from here on it is known where the points lie
    taken = [_box(axes, at) for _, at, _ in points]
    for name, at, colour in points:
        taken.append(_write(axes, name, at, colour, taken))
    axes.legend(frameon=False, fontsize=6.5, loc="best")
    return figure


def _box(axes: Axes, at: tuple[float, float]) -> Bbox:
    """Where a point's marker lies, on the canvas."""
    x, y = axes.transData.transform(at)
    return Bbox.from_bounds(x - 3, y - 3, 6, 6)


def _write(axes: Axes, name: str, at: tuple[float, float], colour: str, taken: Sequence[Bbox]) -> Bbox:
    """Write a name beside its point, within the axes and over nothing that is there; where no place is free, at the
    last one that was tried. Returns where it lies."""
    text = axes.annotate(name, at, (0, 0), textcoords="offset points", fontsize=5.5, color=colour)
    for up, (aside, end) in product((3, -8, 10, -15), ((4, "left"), (-4, "right"))):
        text.set(position=(aside, up), horizontalalignment=end)
        box = text.get_window_extent()
        if axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 and not box.count_overlaps(taken):
            break
    return box
