"""Pictures with their classes laid over them, to be looked at: one with a legend, or many beside the truth."""

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from gcvit.data.label_maps import IGNORED
from gcvit.data.pixels import RGB, as_rgb
from gcvit.tasks.pictures import INK, fitting, font, shortened, shown_size

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gcvit.tasks.segment.evaluation import SceneResult, SegmentEvaluation

OPACITY, STRONG = 0.55, 0.8  # of the colours, in an overlay and on a sheet
PANEL = 360  # pixels a side of a picture on a sheet
NAMED = 24  # classes in a sheet's legend
LETTERS, NAME = 24, 25  # of a class's and of an image's name that are shown


def class_shares(labels: np.ndarray, classes: int) -> list[float]:
    """Each class's share of the pixels that have one, 0 … 1; all are 0 where none has."""
    counts = np.bincount(labels[labels != IGNORED].astype(np.int64), minlength=classes)
    return (counts / max(counts.sum(), 1)).tolist()


def overlay(image: Image.Image, labels: np.ndarray, classes: Sequence[str], palette: Sequence[RGB]) -> Image.Image:
    """The picture in its classes' colours with lines between them, and beside it the classes that occur, by share.

    labels: (height, width) of the picture. Small pictures are enlarged, very large ones made smaller, so that lines
    and letters can be seen.
    """
    shown = blend(image, labels, palette, shown_size(image.size))
    size = max(13, max(shown.size) // 60)
    letters, line = font(size), round(1.6 * size)
    rows = _legend(class_shares(labels, len(classes)), classes, palette, max(shown.height // line - 1, 6))
    if not rows:
        return shown
    names = ceil(max(letters.getlength(name) for name, *_ in rows))
    width = 2 * line + names + size + ceil(letters.getlength("100.0%")) + line // 2
    sheet = Image.new("RGB", (shown.width + width, max(shown.height, (len(rows) + 1) * line)), "white")
    sheet.paste(shown, (0, 0))
    draw = ImageDraw.Draw(sheet)
    for number, (name, share, colour) in enumerate(rows):
        top, left = line // 2 + number * line, shown.width + line // 2
        middle = top + line // 2
        if colour is not None:
            draw.rectangle((left, middle - size // 2, left + size, middle + size // 2), fill=colour, outline="#555555")
        draw.text((left + line, middle), name, fill=INK, font=letters, anchor="lm")
        draw.text((sheet.width - line // 2, middle), share, fill=INK, font=letters, anchor="rm")
    return sheet


def blend(
    image: Image.Image, labels: np.ndarray, palette: Sequence[RGB], size: tuple[int, int], opacity: float = OPACITY
) -> Image.Image:
    """The picture at `size` (width, height), in shades of its classes' colours with lines between them; pixels without
    class are grey with stripes. The picture's own colours go, or they would mix into those of other classes."""
    larger = size[0] >= image.width
    grey = image.convert("L").resize(size, Image.Resampling.NEAREST if larger else Image.Resampling.BOX)
    photograph = np.asarray(grey, np.float32)[..., None]
    labels = labels[_nearest(labels.shape[0], size[1])][:, _nearest(labels.shape[1], size[0])]
    colours = np.array([*palette, (128, 128, 128)], np.float32)[labels]  # the last one is what -1 finds
    mixed = (1 - opacity) * photograph + opacity * colours
    mixed[_edges(labels, max(1, max(size) // 800)) | ((labels == IGNORED) & _stripes(labels.shape))] = 255
    return Image.fromarray(mixed.round().astype(np.uint8))


def draw_sheet(images: "Sequence[tuple[str, SceneResult]]", evaluation: "SegmentEvaluation", *, title: str) -> "Figure":
    """Picture, truth and prediction of some images, with their mIoU; images: (name, result), among those in
    `evaluation.shown`."""
    from matplotlib.figure import Figure  # a prediction needs neither
    from matplotlib.patches import Patch

    classes, palette, scenes = evaluation.classes, evaluation.palette or [], evaluation.pictures
    rows, heights, occurring, ignored = [], [], np.zeros(len(classes), dtype=np.int64), False
    for name, result in images:
        picture, _ = scenes[result.position]  # its labels are numbered as the data do, not the model
        image = as_rgb(picture)
        shown = evaluation.shown[result.position]
        maps = shown.labels.numpy(), shown.predicted.numpy()
        occurring += sum(np.bincount(labels[labels != IGNORED], minlength=len(classes)) for labels in maps)
        ignored |= bool((maps[0] == IGNORED).any())
        size = fitting(image.size, PANEL)
        panels = [image.resize(size), *(blend(image, labels, palette, size, STRONG) for labels in maps)]
        rows.append((panels, (_ending(name), "truth", f"prediction: mIoU {result.miou:.1%}")))
        heights.append(max(0.2, 1.8 * min(1.0, image.height / image.width)))
    most = [label for label in np.argsort(-occurring, kind="stable").tolist() if occurring[label]][:NAMED]
    columns = max(1, int(5.5 / (0.5 + 0.07 * max((len(cut(classes[label])) for label in most), default=1))))

    # Laid out by hand, in inches: matplotlib's own way takes seconds for so many axes.
    top, gap, bottom = 0.7 if title else 0.25, 0.25, 0.2 + 0.2 * ceil(len(most) / columns) + 0.2 * ignored
    height = top + sum(heights) + gap * max(len(rows) - 1, 0) + bottom
    figure = Figure(figsize=(5.7, height))
    figure.suptitle(title, y=1 - 0.12 / height, va="top", fontsize=12, parse_math=False)
    edge = height - top
    for (panels, texts), side in zip(rows, heights, strict=True):
        for column, (panel, text) in enumerate(zip(panels, texts, strict=True)):
            axes = figure.add_axes((0.01 + 0.33 * column, (edge - side) / height, 0.32, side / height))
            axes.imshow(panel, interpolation="nearest")
            axes.set_title(text, fontsize=9, pad=3, parse_math=False)
            axes.set_axis_off()
        edge -= side + gap
    handles = [
        Patch(facecolor="#{:02x}{:02x}{:02x}".format(*palette[label]), edgecolor="#555555", label=cut(classes[label]))
        for label in sorted(most)
    ]
    if ignored:
        figure.text(0.5, 0.08 / height, "striped: ignored", ha="center", fontsize=8)
    place = (0, 0.2 * ignored / height, 1, 1)
    legend = figure.legend(
        handles=handles, loc="lower center", bbox_to_anchor=place, ncols=columns, fontsize=8, frameon=False
    )
    for entry in legend.get_texts():
        entry.set_parse_math(False)
    return figure


def _nearest(length: int, shown: int) -> np.ndarray:
    """For each of the pixels shown, the one that its middle lies in."""
    return (2 * np.arange(shown) + 1) * length // (2 * shown)


def _edges(labels: np.ndarray, width: int) -> np.ndarray:
    """Pixels that are less than `width` from one of another class to the right or below."""
    edges = np.zeros(labels.shape, dtype=bool)
    for step in range(1, width + 1):
        edges[:, :-step] |= labels[:, :-step] != labels[:, step:]
        edges[:-step] |= labels[:-step] != labels[step:]
    return edges


def _stripes(shape: tuple[int, ...]) -> np.ndarray:
    """A quarter of the pixels, in slanting lines 12 pixels apart."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows + columns) % 12 < 3


def _legend(
    shares: Sequence[float], classes: Sequence[str], palette: Sequence[RGB], lines: int
) -> list[tuple[str, str, RGB | None]]:
    """(name, share, colour) of the classes that occur, the largest first; the last line sums up those without place."""
    order = sorted((label for label, share in enumerate(shares) if share), key=lambda label: -shares[label])
    shown = order if len(order) <= lines else order[: lines - 1]
    rows: list[tuple[str, str, RGB | None]] = [
        (cut(classes[label]), _percent(shares[label]), palette[label]) for label in shown
    ]
    if rest := order[len(shown) :]:
        rows.append((f"and {len(rest)} more", _percent(sum(shares[label] for label in rest)), None))
    return rows


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%" if share >= 0.0005 else "<0.1%"


def cut(name: str) -> str:
    """A class's name in a picture."""
    return shortened(name, LETTERS)


def _ending(name: str) -> str:
    """What there is place for of an image's name."""
    return name if len(name) <= NAME else "…" + name[1 - NAME :]
