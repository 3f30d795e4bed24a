"""The paper's tables: as published, each figure with its source, as counted here, and as measured in runs of ours."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial

import timm
import torch
from torch import nn

from gcvit.bench import headed, published
from gcvit.bench.ablation_rows import ABLATION_TABLES, TableName, ablation_lines, heading
from gcvit.bench.contenders import TIMM
from gcvit.bench.cost import macs, parameters
from gcvit.bench.headed import DETECT, SEGMENT, Headed
from gcvit.bench.measured import Reached
from gcvit.bench.published import EXPLAINED, SCORES, TABLE_S1, TABLE_S3, Line, Source
from gcvit.bench.report import Say
from gcvit.factory import create_model
from gcvit.model import VARIANTS, GCViT, GCViTConfig
from gcvit.model.config import Pair
from gcvit.model.windows import grid
from gcvit.tasks.ablations import ABLATIONS

Runs = Sequence[Reached]
COUNTED = ("M params", "GFLOPs")
APART = 0.01  # from which on a difference is to be explained
CROSSVIT = {"timm/crossvit_base_240": 240}  # pixels, where they are others than the table's
BY_TORCH = "counted: multiply-adds are torch's."
DEIT = "DeiT-Small/16 is not counted: Swin's authors gave it deconvolutions for a pyramid, which are not at hand."
CASCADE = "AP is Cascade Mask R-CNN's, of runs of ours too: one with other heads does not stand here."
REMARKS: dict[TableName, Sequence[str]] = {
    "4": [
        "The costs are ours; the table has none. Row 2 is the Swin paper's own ablation.",
        "The step to our down-sampler is +0.6 mIoU in the table and +0.3 in the text.",
        "The last step costs less than the one before: a generator is smaller than the queries it replaces.",
        CASCADE,
    ],
    "S.2": ["The paper does not say which of each kind; the first is taken for its own. The costs are ours.", CASCADE],
    "open": [
        "The last row is how the paper is read here. Queries are resized, and windows padded, at some sizes alone."
    ],
}
SIZES: tuple[Pair, ...] = ((224, 224), (384, 384), (512, 512), (800, 1344))


@dataclass(frozen=True)
class Cell:
    """One figure. published: as printed, None where it is not. source: of that. counted: here, exactly. apart: counted
    over published, less 1, where both are and rounding does not explain it. explained: why, where that is more than
    1%. ours: runs that have measured it; measured: what they have reached."""

    published: float | int | None = None
    source: Source | None = None
    counted: float | None = None
    explained: str = ""
    ours: tuple[Reached, ...] = ()
    measured: str = ""

    @property
    def apart(self) -> float | None:
        if self.published is None or self.counted is None:
            return None
        digits = 0 if isinstance(self.published, int) else 1
        return 0.0 if round(self.counted, digits) == self.published else self.counted / self.published - 1


@dataclass(frozen=True)
class Row:
    """model: what is counted. texts: columns that are no figures. cells: those that are."""

    method: str
    model: str | None = None
    texts: Mapping[str, str] = field(default_factory=dict)
    cells: Mapping[str, Cell] = field(default_factory=dict)


@dataclass(frozen=True)
class PaperTable:
    number: str
    title: str
    rows: Sequence[Row]
    remarks: Sequence[str] = ()

    @property
    def name(self) -> str:
        """Its heading."""
        return heading(self.number)

    @property
    def runs(self) -> list[Reached]:
        """Those of ours that stand in it, each once."""
        return list(dict.fromkeys(run for row in self.rows for cell in row.cells.values() for run in cell.ours))


def build(names: Sequence[str], runs: Runs, say: Say) -> Iterator[PaperTable]:
    """The tables of these `TABLES`, with what runs have reached where they have their rows; what is counted is told to
    `say` while it is."""
    return (MAKERS[name](runs, say) for name in names)


def _classifiers(number: str, lines: Iterator[Line], runs: Runs, say: Say) -> PaperTable:
    rows = []
    for line in lines:
        say(f"counting {line.method}")
        counted = {} if line.model is None else cost_of(line.model)
        config = VARIANTS.get(line.model or "")
        context = "" if config is None else f"{carriers(config)} of {sum(config.depths)}"
        in_timm = line.model is not None and timm.is_model(line.model.removeprefix(TIMM))
        texts = {"timm": "yes" if in_timm else "–", "beyond": context}
        rows.append(Row(line.method, line.model, texts, _cells("1", line, counted, runs)))
    remarks = [
        "timm: whether it has the model; what it does not have, or not of this size, is not counted.",
        "beyond: blocks of GC ViT that attend beyond their own window at this size; stages 3 and 4 are one window.",
        BY_TORCH,
    ]
    return PaperTable(number, "ImageNet-1K at 224 px", rows, remarks)


def _headed(number: str, title: str, table: Headed, lines: Iterator[Line], runs: Runs, say: Say) -> PaperTable:
    rows = []
    for line in lines:
        counted = {}
        if line.model is not None:
            say(f"counting {line.heads or 'UPerNet'} {line.method}")
            row = headed.count(headed.published(line))
            counted = {"M params": row.parameters / 1e6, "GFLOPs": row.macs / 1e9}
        texts = {"heads": line.heads} if line.heads else {}
        rows.append(Row(line.method, line.model, texts, _cells(number, line, counted, runs)))
    return PaperTable(number, title, rows, [table.counted, DEIT])


def _table_s1() -> PaperTable:
    sizes = [VARIANTS[f"gcvit_{name}"] for name in ("xtiny", "tiny", "small", "base")]
    rows = [Row("stem", texts={"printed": dict(TABLE_S1)["stem"], "here": f"112×112, C {_each(c.dim for c in sizes)}"})]
    for stage, side in enumerate((56, 28, 14, 7)):
        heads, depths = (_each(getattr(c, name)[stage] for c in sizes) for name in ("heads", "depths"))
        text = f"{side}×{side}, C {_each(c.channels[stage] for c in sizes)}, head {heads}, × {depths}"
        rows.append(Row(f"stage {stage + 1}", texts={"printed": dict(TABLE_S1)[f"stage {stage + 1}"], "here": text}))
    remarks = ["XT, T, S, B. The printed C stays the first stage's; nothing follows stage 4."]
    return PaperTable("S.1", "sizes of the models", rows, remarks)


def _each(values: Iterator[object]) -> str:
    return ", ".join(map(str, values))


def _table_s3(runs: Runs) -> PaperTable:
    rows = []
    for local, whole, ema, top1, recipe in TABLE_S3:
        line = Line("GC ViT-T", recipe, {"top-1": top1}, {"": "gcvit"})
        texts = {"local batch": str(local), "global batch": str(whole), "EMA": "yes" if ema else "no", "recipe": recipe}
        rows.append(Row("GC ViT-T", recipe, texts, _cells("S.3", line, {}, runs)))
    remarks = ["A run of ours with GC ViT-T, this batch and average stands here, whatever else it was trained with."]
    return PaperTable("S.3", "moving average and batch size", rows, remarks)


def _context() -> PaperTable:
    rows = []
    for name, config in VARIANTS.items():
        if config.img_size == (224, 224):
            texts = {}
            for size in SIZES:
                said = "×".join(map(str, size)) if size[0] != size[1] else str(size[0])
                grown, same = carriers(config, size), carriers(config, size, same_windows=True)
                texts[f">{said} px"] = str(grown) if grown == same else f"{grown}, {same}"
            rows.append(Row(name, name, {">blocks": str(sum(config.depths)), **texts}))
    remarks = ["Blocks that attend beyond their window: with windows that grow with the image, with those of 224 px."]
    return PaperTable("context", "where anything goes from window to window", rows, remarks)


def carriers(config: GCViTConfig, size: Pair | None = None, *, same_windows: bool = False) -> int:
    """How many blocks attend beyond their own window at images of `size` (height, width) in pixels, None for the
    model's own. In a stage whose map is one window there is nothing beyond it, and a local block never does.

    same_windows: keep the windows of the model's own size, as a detector does; otherwise they grow with the image.
    """
    at = config if size is None else replace(config, img_size=size)
    windows = config.stage_windows if same_windows else at.stage_windows
    return sum(
        sum(kind != "local" for kind in kinds)
        for kinds, sides, window in zip(config.block_kinds, at.map_sizes, windows, strict=True)
        if grid(sides, window) != (1, 1)
    )


def _ablations(table: TableName, runs: Runs, say: Say) -> PaperTable:
    rows = []
    for line in ablation_lines(table):
        assert line.model is not None
        say(f"counting {line.model}")
        rows.append(Row(line.method, line.model, {"name": line.model}, _cells(table, line, cost_of(line.model), runs)))
    return PaperTable(table, ABLATION_TABLES[table], rows, [*REMARKS.get(table, ()), BY_TORCH])


def _cells(table: str, line: Line, counted: Mapping[str, float], runs: Runs) -> dict[str, Cell]:
    """Of the columns that are printed or counted, in the table's order; an ablation's also of what runs have measured.

    Where the paper's heads are not the line's own they are Cascade's."""
    own = [run for run in runs if line.model in run.rows and run.heads in ("", line.heads or "cascade")]
    columns = dict.fromkeys([*(name for name in COUNTED if name in counted or name in line.values), *line.values])
    if table in ABLATION_TABLES:
        columns |= dict.fromkeys(name for name in SCORES for run in own if name in run.scores)
    cells = {}
    for column in columns:
        ours = tuple(run for run in own if column in run.scores)
        cells[column] = Cell(
            line.values.get(column),
            line.source(column) if line.values.get(column) is not None else None,
            counted.get(column),
            EXPLAINED.get((table, line.method, column), ""),
            ours,
            " / ".join(f"{run.scores[column]:.1f}" for run in ours),
        )
    return cells


@cache
def cost_of(name: str) -> dict[str, float]:
    """Millions of parameters and 1e9 multiply-adds of a classifier, on the meta device."""
    with torch.device("meta"):
        model = classifier(name)
    return {"M params": parameters(model) / 1e6, "GFLOPs": macs(model, CROSSVIT.get(name, 224)) / 1e9}


def classifier(name: str) -> nn.Module:
    """A model of the tables, by the name that it has there."""
    if name.startswith(TIMM):
        return timm.create_model(name.removeprefix(TIMM))
    return GCViT(ABLATIONS[name].config()) if name in ABLATIONS else create_model(name)


MAKERS: dict[str, Callable[[Runs, Say], PaperTable]] = {
    "1": lambda r, s: _classifiers("1", published.table_1(), r, s),
    "2": lambda r, s: _headed("2", "COCO, Mask R-CNN and Cascade, 3× schedule", DETECT, published.table_2(), r, s),
    "3": lambda r, s: _headed("3", "ADE20K, UPerNet, crops of 512 px", SEGMENT, published.table_3(), r, s),
    "S.1": lambda r, s: _table_s1(),
    "S.3": lambda r, s: _table_s3(r),
    "S.4": lambda r, s: _classifiers("S.4", published.table_1(whole=True), r, s),
    "context": lambda r, s: _context(),
    **{name: partial(_ablations, name) for name in ABLATION_TABLES},
}
