"""What GC ViT and Swin cost under UPerNet, beside the paper's Table 3."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from gcvit.bench.cost import parameters
from gcvit.bench.paper_cost import padding_macs, paper_macs
from gcvit.bench.segment_peers import SWIN_SIZES, SwinSegmenter, swin
from gcvit.factory import create_model
from gcvit.model.config import Pair
from gcvit.tasks.segment.config import UPerNetConfig
from gcvit.tasks.segment.segmenter import Segmenter

SIZE: Pair = (512, 2048)  # pixels, of the picture that the table counts
CROP = 512  # pixels, of the recipes; the queries' poolings follow from it
CLASSES = 150  # of ADE20K


@dataclass(frozen=True)
class Published:
    """A line of Table 3: the backbone, the window sides with which its figures come out, and those figures: parameters
    in millions and multiply-accumulates in thousand millions."""

    model: str
    windows: tuple[int, int, int, int]
    parameters: int
    gmacs: int


TABLE_3 = (
    Published("swin_tiny", (7, 7, 7, 7), 60, 945),
    Published("gcvit_tiny", (7, 7, 14, 7), 58, 947),
    Published("swin_small", (7, 7, 7, 7), 81, 1038),
    Published("gcvit_small", (32, 32, 32, 32), 84, 1163),
    Published("swin_base", (7, 7, 7, 7), 121, 1188),
    Published("gcvit_base", (32, 32, 32, 32), 125, 1348),
)


@dataclass(frozen=True)
class Row:
    """One model's cost. macs: in the papers' counter, `paper_macs`, without what GC ViT computes of padding outside
    attention; macs_as_run: with it."""

    published: Published
    parameters: int
    macs: int
    macs_as_run: int


def rows(lines: Sequence[Published] = TABLE_3) -> Iterator[Row]:
    """Count each model; nothing is computed but shapes, and no memory used for weights."""
    for line in lines:
        with torch.device("meta"):
            model = _gc_vit(line) if line.model.startswith("gcvit") else _swin(line)
        run = paper_macs(model.eval(), SIZE)
        padding = padding_macs(model.backbone.config, SIZE) if isinstance(model, Segmenter) else 0
        yield Row(line, parameters(model), run - padding, run)


def table(found: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Headings and cells for people; a heading that starts with ">" is one of numbers."""
    columns: dict[str, Callable[[Row], str]] = {
        "backbone": lambda row: row.published.model,
        ">windows": lambda row: _windows(row.published.windows),
        ">M params": lambda row: f"{row.parameters / 1e6:.2f}",
        ">paper M": lambda row: str(row.published.parameters),
        ">Δ M": lambda row: _apart(row.parameters / 1e6, row.published.parameters),
        ">GMACs": lambda row: f"{row.macs / 1e9:.1f}",
        ">paper G": lambda row: str(row.published.gmacs),
        ">Δ G": lambda row: _apart(row.macs / 1e9, row.published.gmacs),
        ">as run": lambda row: f"{row.macs_as_run / 1e9:.1f}",
    }
    return list(columns), [[cell(row) for cell in columns.values()] for row in found]


def _apart(found: float, published: float) -> str:
    return f"{round(100 * (found / published - 1), 1) + 0.0:+.1f}%"  # no minus before a zero


def _windows(sides: Sequence[int]) -> str:
    return str(sides[0]) if len(set(sides)) == 1 else ",".join(map(str, sides))


def _gc_vit(line: Published) -> Segmenter:
    backbone = create_model(line.model, img_size=CROP, windows=line.windows, head=False)
    return Segmenter(backbone, CLASSES, UPerNetConfig())


def _swin(line: Published) -> SwinSegmenter:
    return SwinSegmenter(swin(*SWIN_SIZES[line.model], window=line.windows[0]), CLASSES, UPerNetConfig())
