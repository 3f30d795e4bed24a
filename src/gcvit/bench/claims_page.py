"""The claims for people: tables, and a picture for a column of a paper, of what every arm reaches at each distance."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from gcvit.bench.claims import ARMS, Line, lines
from gcvit.bench.puzzles import DISTANCES, GRID, PUZZLES, SIDE, WINDOW
from gcvit.bench.puzzles import draw as draw_scenes
from gcvit.bench.report import Grid, Page
from gcvit.bench.study import machines
from gcvit.engine.figures import sheet

SURE = 0.01
SHOWN = 7  # the scene's key


def page(rows: Sequence[Mapping[str, Any]]) -> Page:
    """A table for each puzzle, and on the page alone one with every p value."""
    found, made = lines(rows), rows[0]["budget"]
    stages = "four stages at 256 px" if made.get("long") else "one stage at 64 px"
    away = [f">{distance} window{'s' * (distance > 1)} away" for distance in DISTANCES]
    columns = ["arm", ">parameters", ">MMACs", ">seeds", *away, ">bits"]
    tables = []
    for name in dict.fromkeys(line.puzzle for line in found):
        title = f"{name}: {PUZZLES[name].asks}; chance {100 / PUZZLES[name].answers:.0f}%"
        tables.append(Grid(title, columns, rows_of(found, name)))
    headings = ["puzzle", "arm", ">distance", ">accuracy", ">deviation", ">bits", ">p, chance", ">p, first arm"]
    full = []
    for line in found:
        figures = (line.accuracy, line.deviation, line.bits, line.p, line.p_first)
        full.append([line.puzzle, line.arm, str(line.distance), *map(_number, figures)])
    notes = [
        f"{made['steps']:,} steps of {made['batch_size']} pictures, peak rate {made['lr']:g}, width {made['dim']}, "
        f"{stages}; {made['scenes']} held-out scenes, each with every cue",
        f"on {machines(rows)}",
        f"accuracy in %, mean ± deviation over seeds; *: not chance, †: not the first arm's (p < {SURE:g},",
        "Student's t, uncorrected; no mark where all seeds are alike: the test goes by their deviation);",
        "bits: log2 of the answers less the cross-entropy",
    ]
    arms = [(arm, ARMS[arm].does) for arm in dict.fromkeys(line.arm for line in found)]
    return Page("", [*tables, Grid("every figure", headings, full, shown=False)], notes, meanings=arms)


def rows_of(found: Sequence[Line], puzzle: str) -> list[list[str]]:
    """The table of one puzzle, a row an arm."""
    rows = []
    for arm in ARMS:
        own = [line for line in found if (line.puzzle, line.arm) == (puzzle, arm)]
        if own:
            size = [f"{own[0].parameters:,}", f"{own[0].macs / 1e6:.1f}", str(own[0].seeds)]
            bits = " ".join(f"{line.bits:z.2f}" for line in own)
            rows.append([arm, *size, *map(_accuracy, own), bits])
    return rows


def _accuracy(line: Line) -> str:
    spread = "" if line.deviation is None else f" ± {100 * line.deviation:.1f}"
    differs = [mark for mark, p in (("*", line.p), ("†", line.p_first)) if p is not None and p < SURE]
    return f"{100 * line.accuracy:.1f}{spread}{''.join(differs)}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:z.4f}"


def draw(found: Sequence[Line]) -> Figure:
    """Above, a picture of each puzzle, the cue framed; below, accuracies in per cent over the distance: the darker a
    field, the nearer it is to all right, and chance is white."""
    puzzles = list(dict.fromkeys(line.puzzle for line in found))
    arms = [arm for arm in ARMS if any(line.arm == arm for line in found)]
    figure = sheet(1.3 + 0.85 * len(puzzles), 1.4 + 0.19 * len(arms))
    ratios = {"height_ratios": [0.9, 0.19 * len(arms)]}
    panels = figure.subplots(2, len(puzzles), squeeze=False, gridspec_kw=ratios)
    for (above, below), puzzle in zip(panels.T, puzzles, strict=True):
        _picture(above, puzzle)
        _fields(below, [line for line in found if line.puzzle == puzzle], arms)
        below.set_yticks(range(len(arms)), arms if puzzle == puzzles[0] else [""] * len(arms), fontsize=6.5)
    figure.supxlabel("windows from the cue to the target", fontsize=7)
    return figure


def _picture(axes: Axes, puzzle: str) -> None:
    scenes = draw_scenes(PUZZLES[puzzle], 1, SHOWN)
    axes.imshow(scenes.paint()[0].permute(1, 2, 0).numpy() + 0.5, extent=(0, SIDE, SIDE, 0))
    row, column = divmod(int(scenes.place[0]), GRID)
    for edge in range(WINDOW, SIDE, WINDOW):
        axes.axhline(edge, color="white", linewidth=0.4)
        axes.axvline(edge, color="white", linewidth=0.4)
    x, y, end = column * WINDOW, row * WINDOW, WINDOW
    axes.add_patch(Rectangle((x, y), end, end, fill=False, color="#e69f00", linewidth=1.2, clip_on=False, zorder=3))
    axes.set_title(puzzle, fontsize=7.5)
    axes.set(xticks=[], yticks=[], xlim=(0, SIDE), ylim=(SIDE, 0))


def _fields(axes: Axes, found: Sequence[Line], arms: Sequence[str]) -> None:
    chance = 1 / PUZZLES[found[0].puzzle].answers
    gained = [[float("nan")] * len(DISTANCES) for _ in arms]
    for line in found:
        at = DISTANCES.index(line.distance), arms.index(line.arm)
        gained[at[1]][at[0]] = share = (line.accuracy - chance) / (1 - chance)
        text, colour = f"{100 * line.accuracy:.0f}", "white" if share > 0.65 else "black"
        axes.text(*at, text, fontsize=6.5, color=colour, horizontalalignment="center", verticalalignment="center")
    axes.imshow(gained, cmap="Blues", vmin=0, vmax=1.3, aspect="auto")  # all right is dark, and not black
    axes.set_xticks(range(len(DISTANCES)), map(str, DISTANCES), fontsize=6.5)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
