"""Charts of an evaluation: how well each class is found, and which are taken for which."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from gcvit.engine.figures import HELD_OUT_COLOUR, TRAIN_COLOUR, sheet, tidy
from gcvit.metrics import SegmentationCounts
from gcvit.tasks.confusion import LABELLED, PAIRS, WRONG, draw_pairs, draw_table
from gcvit.tasks.segment.pictures import cut

BARS = 50  # classes with a name; of more, the worst and the best


def draw_ious(counts: SegmentationCounts, classes: Sequence[str], *, title: str) -> Figure:
    """IoU of each class that is or was predicted, the best on top, with its boundary IoU."""
    found = zip(classes, counts.per_class_iou, counts.per_class_boundary_iou, strict=True)
    rows = sorted(((iou, edges or 0.0, name) for name, iou, edges in found if iou is not None), reverse=True)
    shown = rows if len(rows) <= 1.1 * BARS else [*rows[: BARS // 2], *rows[-BARS // 2 :]]
    figure = sheet(5.7, 1.3 + 0.24 * len(shown), title)
    axes = figure.subplots()
    places = range(len(shown))
    axes.barh(places, [iou for iou, *_ in shown], color=HELD_OUT_COLOUR, height=0.7, label="IoU")
    edges = [edges for _, edges, _ in shown]
    axes.plot(edges, places, "|", color="black", markersize=9, markeredgewidth=2, label="along the edges")
    axes.axvline(counts.miou, color=TRAIN_COLOUR, linestyle="--", linewidth=1, label=f"mean {counts.miou:.1%}")
    if len(shown) < len(rows):
        axes.axhline(BARS // 2 - 0.5, color=WRONG, linewidth=1)
        axes.text(0.99, BARS // 2 - 0.6, f"{len(rows) - len(shown)} more between", ha="right", fontsize=8, color=WRONG)
    axes.set_yticks(places, [cut(name) for *_, name in shown], fontsize=9, parse_math=False)
    axes.set(xlim=(0, 1), ylim=(len(shown) - 0.4, -0.6))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    tidy(axes, "x")
    axes.tick_params(axis="y", length=0)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, fontsize=9)
    return figure


def draw_confusion(counts: SegmentationCounts, classes: Sequence[str], *, title: str) -> Figure:
    """Which classes are taken for which, by pixels: up to 25 as a table, of more the most confused pairs."""
    matrix = counts.confusion
    occurring = (matrix.sum(0) + matrix.sum(1)).nonzero().flatten()
    if len(occurring) <= LABELLED:
        part, names = matrix[occurring][:, occurring], [cut(classes[label]) for label in occurring.tolist()]
        shares = (part.sum(1) / part.sum()).tolist()
        rows = [f"{name} ({share:.1%})" for name, share in zip(names, shares, strict=True)]
        figure = draw_table(part, names, rows, what="class (share of the pixels)")
    else:
        figure = _pairs(counts, classes)
    figure.suptitle(title, fontsize=11, parse_math=False)
    return figure


def most_confused(counts: SegmentationCounts, count: int) -> list[tuple[int, int, int]]:
    """Up to `count` (class, class that it was taken for, pixels), the most frequent first."""
    wrong = counts.confusion.clone()
    wrong.fill_diagonal_(0)
    pixels, places = wrong.flatten().sort(descending=True, stable=True)
    found = zip(places[:count].tolist(), pixels[:count].tolist(), strict=True)
    return [(*divmod(place, counts.classes), number) for place, number in found if number]


def _pairs(counts: SegmentationCounts, classes: Sequence[str]) -> Figure:
    pairs, pixels = most_confused(counts, PAIRS), counts.confusion.sum(1).clamp(min=1)
    shares = [number / counts.pixels for *_, number in pairs]
    figure = sheet(5.7, 6)
    axes = figure.subplots()
    names = [f"{cut(classes[truth])} → {cut(classes[guess])}" for truth, guess, _ in pairs]
    texts = [
        f"{share:.2%}, {number / int(pixels[truth]):.0%} of the class"
        for (truth, _, number), share in zip(pairs, shares, strict=True)
    ]
    draw_pairs(axes, names, shares, texts)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    axes.set_xlabel("share of all pixels; the most confused pairs")
    return figure
