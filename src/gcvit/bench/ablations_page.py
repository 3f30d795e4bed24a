"""The ablations for people: tables, and steps in small against the paper's as a picture for a column of a paper."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from gcvit.bench.ablation_rows import ABLATION_TABLES, TableName, heading
from gcvit.bench.ablations import STUDIES, Measured, Step
from gcvit.bench.published import WITH_SHIFTS
from gcvit.bench.report import Grid, Page
from gcvit.bench.study import machines
from gcvit.engine.figures import FAINT, GREY, MARKS, sheet, tidy

SURE = 0.05


def page(rows: Sequence[Mapping[str, Any]], found: Sequence[Step], asked: Sequence[TableName]) -> Page:
    """found: what the rows say. asked: the tables that are shown on a terminal, too."""
    score = STUDIES[rows[0]["budget"]["task"]].score
    tables = []
    for name in dict.fromkeys(step.table for step in found):
        title = f"{heading(name)} in small: {ABLATION_TABLES[name]}"
        cells = [cells_of(step) for step in found if step.table == name]
        tables.append(Grid(title, columns_of(score), cells, shown=name in asked))
    return Page("", tables, notes_of(rows, score))


def notes_of(rows: Sequence[Mapping[str, Any]], score: str) -> list[str]:
    """What was done, and how the tables are to be read."""
    made = rows[0]["budget"]
    deep = ", as many blocks as in the paper" if made["deep"] else ""
    notes = [
        f"{made['task']}, {made['data'] or 'the built-in pictures'}; {made['steps']:,} steps of {made['batch_size']} "
        f"pictures, peak rate {made['optim']['lr']:g}, {made['img_size']} px, width {made['dim']}{deep}",
        f"on {machines(rows)}",
        f"{score} in %, mean ± deviation over seeds; step: points above the row before (Table 4) or above GC ViT-T",
        f"(others), paired over seeds; *: p < {SURE:g}, Student's t, two-sided, not corrected for the number of tests;",
        "no p where all seeds are alike; bits: log2 of the classes less the cross-entropy; same way: as the paper's",
        "step, of the full models.",
    ]
    if score in WITH_SHIFTS and any(row["arm"] == "table_4_no_shift" for row in rows):
        swins = f"{WITH_SHIFTS[score]} with shifts, not the table's Swin-T"
        notes.append(f"w/o window shifting is of Swin's own ablation: the step as published is from its {swins}.")
    return notes


def columns_of(score: str) -> list[str]:
    """Headings of a table."""
    measured = [score, "step", "p", "step, paper", "same way", "bits", "step in bits", "p"]
    return ["", "name", *(f">{name}" for name in ("parameters", "MMACs", "seeds", *measured))]


def cells_of(step: Step) -> list[str]:
    """A row of a table."""
    return [
        *(step.method, step.arm, f"{step.parameters:,}", f"{step.macs / 1e6:.1f}", str(step.seeds)),
        _shown(step.score, 100, ".2f"),
        *_with_p(step.step, 100, "+.2f"),
        "–" if step.published is None else f"{step.published:+.1f}",
        {None: "–", True: "yes", False: "no"}[step.agrees],
        _shown(step.bits, 1, ".3f"),
        *_with_p(step.bits_step, 1, "+.3f"),
    ]


def _with_p(found: Measured | None, unit: float, shape: str) -> list[str]:
    if found is None or found.p is None:
        return [_shown(found, unit, shape), "–"]
    return [f"{_shown(found, unit, shape)}{'*' if found.p < SURE else ''}", f"{found.p:.3f}"]


def _shown(found: Measured | None, unit: float, shape: str) -> str:
    if found is None:
        return "–"
    spread = "" if found.deviation is None else f" ± {unit * found.deviation:{shape.removeprefix('+')}}"
    return f"{unit * found.mean:{shape.replace('.', 'z.')}}{spread}"


def draw(found: Sequence[Step]) -> Figure:
    """A point for each step that both have, in points of the score, with its deviation over seeds; where the ground is
    shaded, the two have one direction."""
    figure = sheet(3.4, 3.2)
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
    tidy(axes)
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
