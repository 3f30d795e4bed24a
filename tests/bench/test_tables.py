"""The paper's tables: nothing counted is written down, every figure has its source, every difference its reason."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gcvit.bench import published
from gcvit.bench.context import carriers
from gcvit.bench.measured import measured_in
from gcvit.bench.published import EXPLAINED, Line, table_1, table_2, table_3
from gcvit.bench.settings import TABLES
from gcvit.bench.table_formats import as_csv, latex, markdown, wide
from gcvit.bench.tables import APART, MAKERS, Cell, PaperTable, Row, build
from gcvit.cli.tables import run
from gcvit.engine.config import save_config
from gcvit.engine.folder import CONFIG
from gcvit.errors import UserError
from gcvit.model import VARIANTS
from gcvit.tasks import TASKS
from gcvit.tasks.ablations import ABLATIONS
from gcvit.tasks.config import RunConfig
from gcvit.tasks.task import Task
from gcvit.weights.resolve import CONFIG_FILE, WEIGHTS_FILE
from tasks.tiny import every_task

NOTHING: dict[tuple[str, str], str] = {}
DEVIATIONS = (Path(__file__).parents[2] / "docs" / "deviations.md").read_text("utf8")


def silent(text: str) -> None:
    pass


@pytest.fixture(scope="module")
def some() -> list[PaperTable]:
    """Those that take no time."""
    return list(build(["5", "S.1", "S.3", "context"], {("table_5_conv_pool", "top-1"): "61.0"}, silent))


def test_every_table_that_can_be_asked_for_is_made() -> None:
    assert sorted(TABLES) == sorted(MAKERS)


def test_the_published_tables_have_all_their_rows() -> None:
    whole, first = list(table_1(whole=True)), list(table_1())
    assert (len(first), len(whole), len(list(table_2())), len(list(table_3()))) == (36, 52, 16, 11)
    assert {line.method for line in first} < {line.method for line in whole}
    tops = {line.method: line.values["top-1"] for line in first}
    assert (tops["GC ViT-T"], tops["CSwin-T"], tops["ViT-Base/16"]) == (83.4, 82.7, 77.9)
    assert first[-6].source("top-1").protocol.startswith("ImageNet-1K")


@pytest.mark.parametrize("lines", [table_1, table_2, table_3, lambda: published.scores(published.TABLE_4)])
def test_every_figure_has_a_source_and_every_model_is_one(lines: Callable[[], list[Line]]) -> None:
    for line in lines():
        for column, value in line.values.items():
            assert value is None or all(line.source(column)), (line.method, column)
        if line.model is not None and line.method.startswith("GC ViT"):
            assert line.model in VARIANTS


def test_the_vit_of_table_1_was_measured_at_another_size() -> None:
    (vit,) = (line for line in table_1() if line.method.startswith("ViT"))
    assert "384 px" in vit.source("top-1").protocol
    assert "384 px" not in vit.source("M params").protocol


def test_a_difference_is_one_beyond_rounding() -> None:
    assert Cell(12, None, 11.995).apart == 0
    assert Cell(2.1, None, 2.121).apart == 0  # 1.0% apart, and what 2.1 means
    assert Cell(2.6, None, 2.913).apart == pytest.approx(0.1204, abs=1e-3)
    assert Cell(None, None, 1.0).apart is None


@pytest.mark.parametrize("number", ["1", "5"])
def test_every_difference_is_explained_and_stands_in_the_docs(number: str, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = [line for line in table_1() if line.method in ("GC ViT-XXT", "GC ViT-XT", "GC ViT-T", "Swin-T", "ResNet50")]
    monkeypatch.setattr(published, "table_1", lambda: iter(quick))
    (table,) = build([number], NOTHING, silent)
    for row in table.rows:
        for column, cell in row.cells.items():
            assert (abs(cell.apart or 0) > APART) <= bool(cell.explained), (row.method, column)
    if number == "1":
        starred = {(r.method, c) for r in table.rows for c, cell in r.cells.items() if abs(cell.apart or 0) > APART}
        assert starred == {
            ("GC ViT-XT", "GFLOPs"),
            ("GC ViT-T", "GFLOPs"),
            ("Swin-T", "M params"),
            ("ResNet50", "M params"),
        }
    for (_, method, _), why in EXPLAINED.items():
        assert method in DEVIATIONS
        assert why in DEVIATIONS or why.startswith("the row repeats")


def test_what_goes_between_windows() -> None:
    """Only 3 of GC ViT-T's 31 blocks see beyond their own window, whatever the size, unless windows stay small."""
    tiny = VARIANTS["gcvit_tiny"]
    assert [carriers(tiny, (side, side)) for side in (224, 384, 512, 768)] == [3, 3, 3, 3]
    assert carriers(tiny, (512, 512), same_windows=True) == 1 + 2 + 9 + 2
    assert carriers(replace(tiny, blocks=("local", "local"))) == 0
    assert carriers(ABLATIONS["table_4_swin"].config()) == 1 + 1 + 3
    assert carriers(replace(tiny, img_size=(512, 512), windows=(16, 16, 16, 16))) == 1 + 2 + 9


def test_table_s3_names_recipes_that_there_are(some: list[PaperTable]) -> None:
    (recipes,) = (task.recipes for task in TASKS if task.name == "classify")
    assert all(row.texts["recipe"] in recipes for row in some[2].rows)


def test_formats_have_every_figure(some: list[PaperTable]) -> None:
    headings, rows, notes = wide(some[0])
    assert [len(row) for row in rows] == [len(headings)] * 4
    assert rows[0][2:] == ["a", "28.09", "5.24", "82.7", "61.0"]
    assert rows[1][-2:] == ["–", ""]
    assert "section 5.2" in notes[0]
    shown = markdown(some)
    assert "## Table 5: downsamplers between the stages" in shown
    assert "| gcvit_tiny | 31 | 3 | 3, 14 |" in shown
    tex = latex(some)
    assert tex.count(r"\begin{table}") == tex.count(r"\bottomrule") == 4
    assert r"table\_5\_conv\_pool" in tex
    assert "×" not in tex
    lines = list(csv.DictReader(as_csv(some).splitlines()))
    assert all(None not in (*line, *line.values()) for line in lines)  # as many cells as headings in each
    assert {line["column"] for line in lines if line["table"] == "context"} == {
        "blocks",
        "224 px",
        "384 px",
        "512 px",
        "800×1344 px",
    }
    assert not any(line["published"] for line in lines if line["table"] == "context")
    (pooled,) = (line for line in lines if line["model"] == "table_5_conv_pool" and line["column"] == "top-1")
    assert (pooled["published"], pooled["measured"], pooled["table"]) == ("82.7", "61.0", "5")
    assert pooled["copied from"] == "from the text of section 5.2"


def test_stars_and_sources_of_single_figures() -> None:
    line = next(line for line in table_1() if line.method == "ViT-Base/16")
    cells = {name: Cell(value, line.source(name), 100.0, "why") for name, value in line.values.items()}
    headings, (row,), notes = wide(PaperTable("1", "title", [Row("ViT", cells=cells)]))
    assert headings == ["", "from", ">M params", ">counted", ">GFLOPs", ">counted", ">top-1", ">counted"]
    assert row == ["ViT", "a", "86", "100.00*", "17.6", "100.00*", "77.9 b", "100.00*"]
    assert sum(note.startswith("* ViT") for note in notes) == 3


def test_the_command(
    some: list[PaperTable], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gcvit.bench.tables.build", lambda names, measured, say: some)
    run(["5"])
    shown = capsys.readouterr().out
    assert "Table 5: downsamplers" in shown
    assert "Next:" in shown
    run(["--format", "csv"])
    assert capsys.readouterr().out.startswith("table,method,model,column,published")
    with pytest.raises(UserError, match="there is no table '6'; there are 1, 2, 3"):
        run(["6"])


@every_task
def test_the_score_of_a_run(tmp_path: Path, task: Task, tiny: RunConfig) -> None:
    """Of any task, under the name that its own evaluations give it, in a column that a table has."""
    best = tmp_path / "best"
    best.mkdir()
    save_config(replace(tiny, ablation="table_4_swin"), tmp_path / CONFIG)
    (best / CONFIG_FILE).write_text(json.dumps({"task": task.name}))
    metrics = dict.fromkeys(task.curves, 0.1) | {task.score: 0.4567}
    save_file({"weight": torch.zeros(1)}, best / WEIGHTS_FILE, {"metrics": json.dumps(metrics)})
    found, (remark,) = measured_in([tmp_path])
    ((key, value),) = found.items()
    assert (key[0], value) == ("table_4_swin", "45.7")
    assert key[1] in published.SCORES
    assert remark == f"ours: 45.7 {key[1]}, gcvit_pico, table_4_swin, built-in images"
    (best / CONFIG_FILE).write_text("[]")
    with pytest.raises(UserError, match="should hold a JSON object"):
        measured_in([tmp_path])


def test_scores_of_no_runs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run with weights"):
        measured_in([tmp_path])
    assert measured_in([]) == ({}, [])
