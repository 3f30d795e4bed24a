"""Appendix F for people: tables, and how arithmetic, time and memory grow, as a picture for a column of a paper."""

from collections.abc import Sequence
from dataclasses import asdict

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from gcvit.bench.complexity import Growth, StageCost
from gcvit.bench.report import Grid, Page, machine, signed
from gcvit.bench.settings import ComplexityConfig
from gcvit.engine.device import resolve_device
from gcvit.engine.figures import MARKS, sheet, tidy

PLAIN = FuncFormatter(lambda value, _: f"{value:g}")


def page(settings: ComplexityConfig, costs: Sequence[StageCost], found: Sequence[Growth]) -> Page:
    """Attention at the size that is nearest to 224 px, growth, and what was measured, if anything was."""
    own = min(settings.sizes, key=lambda size: abs(size - 224))
    title = f"Attention of {settings.model} at {own} px, 1e6 multiply-adds"
    stages = [[str(cost.stage + 1), *map(_millions, cost[2:])] for cost in costs if cost.size == own]
    lines = [
        [
            growth.name,
            f"{growth.line[0]:,.0f}",
            _share(growth.residual),
            "" if growth.elsewhere is None else _share(growth.elsewhere),
            f"{growth.exponent:.2f}",
        ]
        for growth in found
    ]
    measured = [
        [
            growth.name,
            str(spent.size),
            f"{spent.milliseconds:,.0f}",
            "" if spent.peak_bytes is None else f"{spent.peak_bytes / 1e6:,.0f}",
        ]
        for growth in found
        for spent in growth.measured
    ]
    tables = [
        Grid(title, ["stage", ">Eq. 7", ">by kind", ">counted"], stages),
        Grid("Growth", ["", ">per pixel", ">off the line", ">elsewhere", ">exponent"], lines),
        *([Grid("Measured", ["", ">px", ">ms", ">peak MB"], measured)] if measured else []),
    ]
    differing, sizes = sum(cost.by_kind != cost.counted for cost in costs), len({cost.size for cost in costs})
    few = "that fits all sizes best, for there are no two multiples of 224 px"
    fitted = {0: few, 1: few, 2: "through the two multiples of 224 px"}
    line = fitted.get(found[0].multiples, "that fits multiples of 224 px best")
    notes = [
        f"by kind: Eq. 7 for local blocks, HW(3C² + 2hwC) for global ones; the count differs in {differing} of",
        f"{len(costs)} stages at {sizes} sizes, padding counted;",
        f"per pixel: multiply-adds, of the line {line};",
        "off the line: the farthest of these; elsewhere: of other sizes, with padding;",
        "exponent: of pixels, 1 is linear",
    ]
    return Page("", tables, notes, list(machine(resolve_device(settings.device)).items()) if measured else ())


def as_json(settings: ComplexityConfig, costs: Sequence[StageCost], found: Sequence[Growth]) -> dict[str, object]:
    """The settings, the machine, and all that was counted and measured, as plain JSON types."""
    return {
        "settings": asdict(settings),
        "machine": machine(resolve_device(settings.device)),
        "attention": [cost._asdict() for cost in costs],
        "growth": [asdict(g) | {"line": g.line, "residual": g.residual, "exponent": g.exponent} for g in found],
    }


def _millions(number: int) -> str:
    return f"{number / 1e6:,.1f}"


def _share(share: float) -> str:
    return "no line" if abs(share) > 1 else signed(share)


def draw(growths: Sequence[Growth]) -> Figure:
    """One panel for multiply-adds; two more, for time and memory, where they were measured."""
    measured = any(growth.measured for growth in growths)
    panels = 3 if measured else 1
    figure = sheet(3.4, 1.8 * panels + 1.1)
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
    tidy(axes, "both")
