"""The claims as a picture, for a column of a paper: a puzzle each, and what every arm reaches at each distance."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gcvit.bench.claims import ARMS, Line
from gcvit.bench.puzzles import DISTANCES, GRID, PUZZLES, SIDE, WINDOW
from gcvit.bench.puzzles import draw as draw_scenes

SHOWN = 7  # the scene's key


def draw(found: Sequence[Line]) -> Figure:
    """Above, a picture of each puzzle, the cue framed; below, accuracies in per cent over the distance: the darker a
    field, the nearer it is to all right, and chance is white."""
    puzzles = list(dict.fromkeys(line.puzzle for line in found))
    arms = [arm for arm in ARMS if any(line.arm == arm for line in found)]
    figure = Figure(figsize=(1.3 + 0.85 * len(puzzles), 1.4 + 0.19 * len(arms)), layout="constrained")
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
    axes.plot(
        [x, x + end, x + end, x, x],
        [y, y, y + end, y + end, y],
        color="#e69f00",
        linewidth=1.2,
        clip_on=False,
        zorder=3,
    )
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
