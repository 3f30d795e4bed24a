"""What GC ViT and its peers cost under UPerNet, beside the paper's Table 3."""

from collections.abc import Iterator, Sequence

import torch

from gcvit.bench import paper_table
from gcvit.bench.paper_table import Names, Published, Row
from gcvit.bench.published import table_3
from gcvit.bench.pyramids import SWIN_SIZES, backbone
from gcvit.model.config import Pair
from gcvit.tasks.segment.segmenter import Segmenter
from gcvit.tasks.segment.settings import UPerNetConfig

SIZE: Pair = (512, 2048)  # pixels, of the picture that the table counts
CROP = 512  # pixels, of the recipes; the queries' poolings follow from it
CLASSES = 150  # of ADE20K

# With which the figures of GC ViT come out; Swin's are of 7.
WINDOWS = {"gcvit_tiny": (7, 7, 14, 7), "gcvit_small": (32,) * 4, "gcvit_base": (32,) * 4}
TABLE_3 = tuple(
    Published(
        line.model,
        WINDOWS.get(line.model, (7,) * 4 if line.model in SWIN_SIZES else ()),
        int(line.values["M params"] or 0),
        None if line.values["GFLOPs"] is None else int(line.values["GFLOPs"]),
    )
    for line in table_3()
    if line.model is not None
)
NAMES: Names = {
    "backbone": lambda row: row.published.model,
    ">windows": lambda row: _windows(row.published.windows),
}
TITLE = f"UPerNet at {SIZE[0]}×{SIZE[1]} px, {CLASSES} classes, beside Table 3 of the paper"
COUNTED = (
    f"counted: at {SIZE[0]}×{SIZE[1]} px, {CLASSES} classes, with windows of 7, 7, 14, 7 tokens a side in GC ViT-T "
    "(Swin: 7) and of 32 in S and B, whose figures come out with these; multiply-adds are those of the papers' counter."
)
NOTE = "windows: tokens a side, stage by stage, with which the figures come out;"


def rows(lines: Sequence[Published] = TABLE_3) -> Iterator[Row]:
    """Count each model; nothing is computed but shapes, and no memory used for weights."""
    for line in lines:
        with torch.device("meta"):
            model = Segmenter(backbone(line.model, CROP, line.windows), CLASSES, UPerNetConfig())
        yield paper_table.count(line, model, model, SIZE)


def _windows(sides: Sequence[int]) -> str:
    return "" if not sides else str(sides[0]) if len(set(sides)) == 1 else ",".join(map(str, sides))
