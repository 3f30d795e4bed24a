"""Table 2 of the paper comes out, in parameters and multiply-accumulates."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from gcvit.bench import headed
from gcvit.bench.cost import paper_macs
from gcvit.bench.headed import Row, count
from gcvit.bench.peers import SwinPyramid, swin
from gcvit.cli.bench_cost import run
from gcvit.tasks.detect.detector import Counted, Detector
from gcvit.tasks.detect.roi_heads import RoIHeads
from gcvit.tasks.detect.settings import HeadConfig, Kind

# Counted independently, before this code was written: parameters in millions, GMACs, those as run.
KNOWN = {
    ("gcvit_tiny", "mask-rcnn"): (47.98, 291.8, 305.3),
    ("gcvit_tiny", "cascade"): (85.81, 770.6, 784.2),
    ("gcvit_small", "cascade"): (108.61, 866.7, 887.1),
    ("gcvit_base", "cascade"): (147.76, 1018.2, 1054.4),
    ("swin_tiny", "mask-rcnn"): (47.79, 266.9, 266.9),
    ("swin_tiny", "cascade"): (85.63, 745.8, 745.8),
}


def key(row: Row) -> tuple[str, str]:
    return row.published.model, row.published.heads


TABLE_2 = headed.DETECT.lines
# Of convolutional backbones the smallest are enough.
LINES = [line for line in TABLE_2 if line.model not in ("convnext_small", "convnext_base", "resnext101_64x4d")]


@pytest.fixture(scope="module")
def found() -> list[Row]:
    return [count(line) for line in LINES]


def test_every_line_of_the_table_is_within_a_percent_of_the_papers(found: list[Row]) -> None:
    assert [row.published for row in found] == LINES
    assert len(TABLE_2) == 15
    for row in found:
        assert row.macs / 1e9 == pytest.approx(row.published.gmacs, rel=0.01), row
        millions = 2.0 if row.published.model == "gcvit_base" else 0.01 * row.published.parameters
        assert row.parameters / 1e6 == pytest.approx(row.published.parameters, abs=millions), row


def test_an_independent_count(found: list[Row]) -> None:
    counted = {key(row): row for row in found}
    for name, known in KNOWN.items():
        row = counted[name]
        told = row.parameters / 1e6, row.macs / 1e9, row.macs_as_run / 1e9
        assert (round(told[0], 2), round(told[1], 1), round(told[2], 1)) == known


def test_padding_costs_only_gc_vit_something(found: list[Row]) -> None:
    padding = {key(row): round((row.macs_as_run - row.macs) / 1e9, 1) for row in found}
    assert all(extra == 0 for (model, _), extra in padding.items() if not model.startswith("gcvit"))
    # Counted independently too.
    assert padding["gcvit_tiny", "mask-rcnn"] == padding["gcvit_tiny", "cascade"] == 13.6
    assert (padding["gcvit_small", "cascade"], padding["gcvit_base", "cascade"]) == pytest.approx(
        (20.3, 36.1), abs=0.11
    )


def test_the_windows_matter() -> None:
    """With the published windows of classification the figures do not come out."""
    row = count(replace(next(line for line in TABLE_2 if line.model == "gcvit_tiny"), windows=(7, 7, 14, 7)))
    assert row.macs / 1e9 < 0.98 * (row.published.gmacs or 0)


@pytest.mark.parametrize("kind", ["mask-rcnn", "cascade"])
def test_the_heads_by_hand(kind: Kind) -> None:
    """Those of the boxes and masks, from their layers, and nothing for the pictures' proposals."""
    width, hidden, classes = 8, 16, 3
    with torch.device("meta"):
        backbone = SwinPyramid(swin(8, (1, 1, 1, 1), (1, 1, 1, 1), window=4))
        model = Detector(backbone, classes, HeadConfig(kind, channels=width, hidden=hidden)).eval()
    whole = paper_macs(Counted(model, headed.BOXES, headed.MASKS), (64, 96))
    model.roi_heads = RoIHeads(classes, model.head_config)
    model.roi_heads.box_heads, model.roi_heads.mask_heads = nn.ModuleList(), nn.ModuleList()
    heads = whole - paper_macs(Counted(model, headed.BOXES, headed.MASKS), (64, 96))
    outputs = hidden * (classes + 1 + 4 * classes)
    if kind == "mask-rcnn":
        box = width * 49 * hidden + hidden + hidden * hidden + hidden + outputs  # products, ReLU
    else:
        box = 4 * 49 * width * (9 * width + 2 + 1) + width * 49 * hidden + hidden + outputs  # norms, too
    mask = 4 * 196 * width * (9 * width + 1 + 1)
    # torch counts a transposed convolution's products by its input; its bias and ReLU are of the output.
    mask += 196 * width * 4 * width + 784 * width * (1 + 1) + 784 * classes * (width + 1)
    stages = 1 if kind == "mask-rcnn" else 3
    assert heads == stages * (1000 * box + 100 * mask)


def test_the_command(found: list[Row], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    counted = {row.published: row for row in found}
    monkeypatch.setattr(headed, "DETECT", replace(headed.DETECT, lines=tuple(LINES)))
    monkeypatch.setattr(headed, "count", lambda line: counted[line])
    run(["detect"])
    shown = capsys.readouterr()
    assert all(len(line) <= 80 for line in shown.out.splitlines())
    lines = [line.split() for line in shown.out.splitlines()]
    assert [*key(found[-1])[::-1], "147.76", "146", "+1.2%", "1018.2", "1018", "+0.0%", "1054.4"] in lines
    assert "gcvit train detect" in shown.out
    run(["detect", "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert [row["parameters"] for row in printed["rows"]] == [row.parameters for row in found]
    assert [row["published"]["heads"] for row in printed["rows"]] == [key(row)[1] for row in found]
    assert printed["size"] == [1280, 800]
