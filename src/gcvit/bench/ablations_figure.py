"""Steps in small against the paper's, as a picture for a column of a paper."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from gcvit.bench.ablations import Step
from gcvit.engine.figures import FAINT, GREY, MARKS


def draw(found: Sequence[Step]) -> Figure:
    """A point for each step that both have, in points of the score, with its deviation over seeds; where the ground is
    shaded, the two have one direction."""
    figure = Figure(figsize=(3.4, 3.2), layout="constrained")
    axes = figure.subplots()
    for table, (colour, marker, _) in zip(dict.fromkeys(step.table for step in found), MARKS, strict=False):
        own = [step for step in found if step.table == table]
        across, up = [step.published or 0.0 for step in own], [100 * step.step.mean for step in own if step.step]
        spread = [100 * (step.step.deviation or 0) for step in own if step.step]
        axes.errorbar(
            across, up, spread, fmt=marker, color=colour, markersize=4, linewidth=0.8, capsize=2, label=f"Table {table}"
        )
        for step, x, y in zip(own, across, up, strict=True):
            name = step.arm.removeprefix("table_").removeprefix(f"{table.lower().replace('.', '')}_")
            axes.annotate(name, (x, y), (4, 3), textcoords="offset points", fontsize=5.5, color=colour)
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
    axes.legend(frameon=False, fontsize=6.5, loc="best")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
