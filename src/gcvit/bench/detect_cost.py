"""What GC ViT and its peers cost under Mask R-CNN and Cascade Mask R-CNN, beside the paper's Table 2."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch

from gcvit.bench import paper_table
from gcvit.bench.paper_table import Names, Published, Row
from gcvit.bench.published import table_2
from gcvit.bench.pyramids import SWIN_SIZES, backbone
from gcvit.model.config import Pair
from gcvit.tasks.detect.detector import Counted, Detector
from gcvit.tasks.detect.settings import HeadConfig, Kind

SIZE: Pair = (1280, 800)  # pixels, of the picture that the table counts
IMG_SIZE = 512  # pixels, of the recipes; the queries' poolings follow from it
CLASSES = 80  # of COCO
BOXES, MASKS = 1000, 100  # that go through each box head and each mask head


@dataclass(frozen=True)
class PublishedDetector(Published):
    """A line of Table 2, with the kind of its heads."""

    heads: Kind


SWIN, GC_VIT = (7,) * 4, (16,) * 4  # windows
TABLE_2 = tuple(
    PublishedDetector(
        line.model,
        GC_VIT if line.model.startswith("gcvit") else SWIN if line.model in SWIN_SIZES else (),
        int(line.values["M params"] or 0),
        int(line.values["GFLOPs"] or 0),
        cast(Kind, line.heads),
    )
    for line in table_2()
    if line.model is not None
)
NAMES: Names = {"heads": lambda row: _heads(row.published), "backbone": lambda row: row.published.model}
TITLE = f"Mask R-CNN and Cascade at {SIZE[0]}×{SIZE[1]} px, {CLASSES} classes, beside Table 2 of the paper"
_WINDOWS = f"windows of {GC_VIT[0]} tokens a side in every stage (Swin: {SWIN[0]})"
_THROUGH = f"{BOXES:,} boxes through each box head and {MASKS} through each mask head"
NOTE = f"with {_WINDOWS},\n{_THROUGH};"
COUNTED = (
    f"counted: at {SIZE[0]}×{SIZE[1]} px, {CLASSES} classes, with {_WINDOWS}, {_THROUGH}; multiply-adds are those of "
    "the papers' counter."
)


def rows(lines: Sequence[PublishedDetector] = TABLE_2) -> Iterator[Row]:
    """Count each model; nothing is computed but shapes, and no memory used for weights."""
    for line in lines:
        with torch.device("meta"):
            model = Detector(backbone(line.model, IMG_SIZE, line.windows), CLASSES, HeadConfig(line.heads))
        yield paper_table.count(line, model, Counted(model, BOXES, MASKS), SIZE)


def _heads(line: Published) -> Kind:
    assert isinstance(line, PublishedDetector)
    return line.heads
