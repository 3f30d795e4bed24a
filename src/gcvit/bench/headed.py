"""What GC ViT and its peers cost under detection's and segmentation's heads, beside the paper's Tables 2 and 3."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from gcvit.bench.cost import padding_macs, paper_macs, parameters
from gcvit.bench.peers import SWIN_SIZES, backbone
from gcvit.bench.published import Line, table_2, table_3
from gcvit.bench.report import Grid, Page, signed
from gcvit.model import GCViT
from gcvit.model.config import Pair
from gcvit.tasks.detect.detector import Counted, Detector
from gcvit.tasks.detect.settings import HeadConfig, Kind
from gcvit.tasks.segment.segmenter import Segmenter
from gcvit.tasks.segment.settings import UPerNetConfig
from gcvit.wording import by

DETECTED, SEGMENTED = (1280, 800), (512, 2048)  # (height, width) in pixels of the pictures that are counted
IMG_SIZE = 512  # pixels, of the recipes and their crops; the queries' poolings follow from it
COCO, ADE20K = 80, 150  # classes
BOXES, MASKS = 1000, 100  # that go through each box head and each mask head
UPERNET = "upernet"
# In tokens a side, those with which the figures of GC ViT come out; Swin's are of 7.
WINDOWS = {"gcvit_tiny": (7, 7, 14, 7), "gcvit_small": (32,) * 4, "gcvit_base": (32,) * 4}
DETECTOR_WINDOW, SWIN_WINDOW = 16, 7


@dataclass(frozen=True)
class Published:
    """A line of a table: the backbone, the window sides with which its figures come out, and those figures: parameters
    in millions and multiply-accumulates in thousand millions, if it has them. heads: a detector's, or `UPERNET`."""

    model: str
    windows: tuple[int, ...]
    parameters: int
    gmacs: int | None
    heads: str


@dataclass(frozen=True)
class Row:
    """One model's cost. macs: in the papers' counter, `paper_macs`, without what GC ViT computes of padding outside
    attention; macs_as_run: with it."""

    published: Published
    parameters: int
    macs: int
    macs_as_run: int


@dataclass(frozen=True)
class Headed:
    """A table of the paper whose models have heads. size: (height, width) in pixels of the picture that it counts.
    note: what is particular, in lines of a terminal."""

    size: Pair
    lines: tuple[Published, ...]
    title: str
    note: Sequence[str]

    @property
    def counted(self) -> str:
        """How its models are counted, in a sentence."""
        said = " ".join(self.note)
        return f"counted: {self.title.partition(', beside')[0]}, {said} multiply-adds are those of the papers' counter."


def published(line: Line) -> Published:
    """Of a line with a model."""
    model, heads = str(line.model), line.heads or UPERNET
    windows: tuple[int, ...] = (SWIN_WINDOW,) * 4 if model in SWIN_SIZES else ()
    if model.startswith("gcvit"):
        windows = WINDOWS[model] if heads == UPERNET else (DETECTOR_WINDOW,) * 4
    figures = line.values["M params"], line.values["GFLOPs"]
    return Published(model, windows, int(figures[0] or 0), None if figures[1] is None else int(figures[1]), heads)


DETECT = Headed(
    DETECTED,
    tuple(published(line) for line in table_2() if line.model),
    f"Mask R-CNN and Cascade at {by(DETECTED)} px, {COCO} classes, beside Table 2 of the paper",
    [
        f"with windows of {DETECTOR_WINDOW} tokens a side in every stage (Swin: {SWIN_WINDOW}),",
        f"{BOXES:,} boxes through each box head and {MASKS} through each mask head;",
    ],
)
SEGMENT = Headed(
    SEGMENTED,
    tuple(published(line) for line in table_3() if line.model),
    f"UPerNet at {by(SEGMENTED)} px, {ADE20K} classes, beside Table 3 of the paper",
    [
        f"with windows of {', '.join(map(str, WINDOWS['gcvit_tiny']))} tokens a side in GC ViT-T (Swin: {SWIN_WINDOW})",
        f"and of {WINDOWS['gcvit_small'][0]} in S and B, whose figures come out with these;",
    ],
)


def count(line: Published) -> Row:
    """Count a model; nothing is computed but shapes, and no memory used for weights."""
    model: nn.Module
    forward: nn.Module
    with torch.device("meta"):
        body = backbone(line.model, IMG_SIZE, line.windows)
        if line.heads == UPERNET:
            model, size = Segmenter(body, ADE20K, UPerNetConfig()), SEGMENTED
            forward = model
        else:
            model, size = Detector(body, COCO, HeadConfig(cast(Kind, line.heads))), DETECTED
            forward = Counted(model, BOXES, MASKS)
    run = paper_macs(forward.eval(), size)
    padding = padding_macs(body.config, size) if isinstance(body, GCViT) else 0
    return Row(line, parameters(model), run - padding, run)


def page(table: Headed, found: Sequence[Row]) -> Page:
    """A table beside what was counted."""
    detectors = found[0].published.heads != UPERNET
    names = ["heads", "backbone"] if detectors else ["backbone", ">windows"]
    rows = [
        [
            *([row.published.heads, row.published.model] if detectors else [row.published.model, _windows(row)]),
            f"{row.parameters / 1e6:.2f}",
            str(row.published.parameters),
            _apart(row.parameters / 1e6, row.published.parameters),
            f"{row.macs / 1e9:.1f}",
            str(row.published.gmacs or "–"),
            _apart(row.macs / 1e9, row.published.gmacs),
            f"{row.macs_as_run / 1e9:.1f}",
        ]
        for row in found
    ]
    notes = [
        *table.note,
        "M: millions of parameters;",
        "GMACs: in the papers' counter: products, norms, ReLU, pooling, but no GELU;",
        "as run: with the norms and MLPs of padding, which the published code leaves out",
    ]
    return Page(
        "", [Grid(table.title, [*names, ">M", ">paper", ">Δ", ">GMACs", ">paper", ">Δ", ">as run"], rows)], notes
    )


def _windows(row: Row) -> str:
    sides = dict.fromkeys(row.published.windows)
    return ",".join(map(str, row.published.windows if len(sides) > 1 else sides))


def _apart(found: float, published: float | None) -> str:
    return "" if published is None else signed(found / published - 1)
