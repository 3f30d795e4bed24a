"""Appendix F as a picture: arithmetic, time and memory over the size of the image, for a column of a paper."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from gcvit.bench.complexity import Growth
from gcvit.engine.figures import FAINT, MARKS

PLAIN = FuncFormatter(lambda value, _: f"{value:g}")


def draw(growths: Sequence[Growth]) -> Figure:
    """One panel for multiply-adds; two more, for time and memory, where they were measured."""
    measured = any(growth.measured for growth in growths)
    panels = 3 if measured else 1
    figure = Figure(figsize=(3.4, 1.8 * panels + 1.1), layout="constrained")
    axes = list(figure.subplots(panels, 1, sharex=True, squeeze=False)[:, 0])
    for growth, (colour, marker, dashes) in zip(growths, MARKS, strict=False):
        style = {"color": colour, "marker": marker, "linestyle": dashes, "markersize": 3.5, "linewidth": 1.1}
        axes[0].plot(growth.sizes, [m / 1e9 for m in growth.macs], label=growth.name, **style)
        if growth.measured:
            sizes = [spent.size for spent in growth.measured]
            axes[1].plot(sizes, [spent.milliseconds / 1e3 for spent in growth.measured], **style)
            held = [(s.size, s.peak_bytes / 1e6) for s in growth.measured if s.peak_bytes]
            axes[2].plot([size for size, _ in held], [most for _, most in held], **style)
    for panel, name in zip(axes, ("multiply-adds, 10⁹", "time of an image, s", "peak memory, MB"), strict=False):
        _finish(panel, name)
    axes[-1].set_xlabel("side of the image, px", fontsize=8)
    axes[0].set_xticks(ticks(growths[0].sizes))
    figure.legend(*axes[0].get_legend_handles_labels(), frameon=False, fontsize=7, loc="outside upper left")
    return figure


def ticks(sizes: Sequence[int]) -> list[int]:
    """Some of the sizes, from the smallest, at most six, and far enough apart for their names."""
    apart, found = (sizes[-1] / sizes[0]) ** 0.199, list(sizes[:1])
    for size in sizes:
        if size >= apart * found[-1]:
            found.append(size)
    return found


def _finish(axes: Axes, name: str) -> None:
    axes.set(xscale="log", yscale="log")
    axes.set_ylabel(name, fontsize=8)
    axes.xaxis.set_minor_locator(NullLocator())
    low, high = axes.get_ylim()
    if high < 1000 * low:  # powers of ten alone would be two or three names, or none
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PLAIN)
    axes.tick_params(labelsize=7)
    axes.grid(color=FAINT, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
