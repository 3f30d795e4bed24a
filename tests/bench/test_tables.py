"""The paper's tables: nothing counted is written down, every figure has its source, every difference its reason."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from gcvit.bench import published, tables
from gcvit.bench.headed import Row as PaperRow
from gcvit.bench.measured import Reached, measured_in, rows_of
from gcvit.bench.published import EXPLAINED, Line, table_1, table_2, table_3
from gcvit.bench.settings import TABLES
from gcvit.bench.table_formats import as_csv, latex, markdown, wide
from gcvit.bench.tables import APART, MAKERS, Cell, PaperTable, Row, build, carriers
from gcvit.cli.tables import NEXT, run
from gcvit.engine.config import save_config
from gcvit.engine.folder import CONFIG
from gcvit.engine.settings import OptimConfig
from gcvit.errors import UserError
from gcvit.model import VARIANTS
from gcvit.tasks import TASKS
from gcvit.tasks.ablations import ABLATIONS
from gcvit.tasks.backbone import backbone_config
from gcvit.tasks.config import ArchConfig, RunConfig
from gcvit.tasks.task import Task
from gcvit.weights.hub import hub_config
from gcvit.weights.preprocessing import Preprocessing
from gcvit.weights.resolve import CONFIG_FILE, WEIGHTS_FILE
from tasks.tiny import TINY, every_task

DEVIATIONS = (Path(__file__).parents[2] / "docs" / "deviations.md").read_text("utf8")


def silent(text: str) -> None:
    pass


def reached(*rows: str, heads: str = "", **scores: float) -> Reached:
    named = {name.replace("_", " "): score for name, score in scores.items()} or {"top-1": 61.0}
    return Reached(Path("my_run"), rows, heads, named, "gcvit_tiny, 224×224 px, photos")


@pytest.fixture(scope="module")
def some() -> list[PaperTable]:
    """Those that take no time."""
    return list(build(["5", "S.1", "S.3", "context"], [reached("table_5_conv_pool")], silent))


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
    (table,) = build([number], [], silent)
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
    assert r"\caption{downsamplers between the stages}\label{tab:5}" in tex
    assert "×" not in tex
    lines = list(csv.DictReader(as_csv(some).splitlines()))
    assert all(None not in (*line, *line.values()) for line in lines)  # as many cells as headings in each
    assert {line["column"] for line in lines if line["table"] == "context"} == {
        "blocks",
        "224 px",
        "384 px",
        "512 px",
        "800×1344 px",
        "",  # of remarks
    }
    assert not any(line["published"] for line in lines if line["table"] == "context")
    (pooled,) = (line for line in lines if line["model"] == "table_5_conv_pool" and line["column"] == "top-1")
    assert (pooled["published"], pooled["measured"], pooled["table"]) == ("82.7", "61.0", "5")
    assert pooled["copied from"] == "from the text of section 5.2"
    assert pooled["measured in"] == "61.0 top-1: my_run, gcvit_tiny, 224×224 px, photos"
    assert "counted: multiply-adds are torch's." in {line["remark"] for line in lines if line["table"] == "5"}


def test_a_run_is_told_under_the_tables_that_show_it(some: list[PaperTable]) -> None:
    said = "ours: 61.0 top-1: my_run, gcvit_tiny, 224×224 px, photos"
    assert [said in wide(table)[2] for table in some] == [True, False, False, False]
    assert markdown(some).count(said) == latex(some).replace(r"\_", "_").replace(r"$\times$", "×").count(said) == 1


@pytest.fixture
def uncounted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "cost_of", lambda name: {"M params": 1.0})
    monkeypatch.setattr(tables.headed, "count", lambda line: PaperRow(line, 1, 1, 1))


def test_where_runs_stand(uncounted: None) -> None:
    """A detector's by its heads, and the ablations' are Cascade's; of any task beside an ablation; and by batch and
    moving average."""
    runs = [
        reached("gcvit_tiny", heads="mask-rcnn", AP_box=1),  # boxes alone were measured
        reached("gcvit_tiny", heads="cascade", AP_box=2, box_50=2.5, AP_mask=1.5),
        reached("gcvit_tiny", "table_s3_32"),
        reached("gcvit_tiny", mIoU=4),
        reached("table_4_reparam_7", mIoU=5),
        reached("open_no_bias", heads="cascade", AP_box=6, box_50=6.5),
        reached(mIoU=7),
    ]
    found = {
        (table.number, row.texts.get("heads", ""), row.method.strip(), column): cell.measured
        for table in build(["2", "3", "4", "5", "S.3", "open"], runs, silent)
        for row in table.rows
        for column, cell in row.cells.items()
        if (cell.ours and row.model != "gcvit_tiny") or (table.number in ("2", "3", "4") and cell.ours)
    }
    last = ("4", "", "+ GC ViT-T global self-attention")
    assert found == {
        ("2", "mask-rcnn", "GC ViT-T", "AP box"): "1.0",
        ("2", "cascade", "GC ViT-T", "AP box"): "2.0",
        ("2", "cascade", "GC ViT-T", "box 50"): "2.5",
        ("2", "cascade", "GC ViT-T", "AP mask"): "1.5",
        ("3", "", "GC ViT-T", "mIoU"): "4.0",
        (*last, "top-1"): "61.0",
        (*last, "AP box"): "2.0",
        (*last, "AP mask"): "1.5",
        (*last, "mIoU"): "4.0",
        ("4", "", "(the same, stage 3 with windows of 7)", "mIoU"): "5.0",
        ("S.3", "", "GC ViT-T", "top-1"): "61.0",
        ("open", "", "no position bias", "AP box"): "6.0",
    }


def test_notes_stand_alone(uncounted: None) -> None:
    """Each a sentence, in every format; a row without a count has its reason."""
    for table in build(["1", "2", "3"], [], silent):
        *_, notes = wide(table)
        assert any(note.startswith("counted: ") for note in notes)
        assert not any(note.endswith(";") or "CSV" in note or "beside Table" in note for note in notes)
        empty = {row.method for row in table.rows if not any(cell.counted for cell in row.cells.values())}
        assert (empty == {"DeiT-Small/16"}) == (table.number != "1")
        assert any("not counted" in note for note in notes)
    assert any("1280×800 px" in note for note in wide(next(iter(build(["2"], [], silent))))[2])


def test_latex_of_what_is_long_wide_and_odd(uncounted: None) -> None:
    long, wider = (latex(list(build([number], [], silent))) for number in ("1", "2"))
    assert r"\begin{longtable}" in long
    assert r"\begin{table}" not in long
    assert r"\centering\scriptsize" in wider
    assert r"\centering\small" in latex(list(build(["3"], [], silent)))
    odd = latex([PaperTable("1", r"50% of $5 & {a} ~ b^c \ d_e #f", [])])
    assert r"50\% of \$5 \& \{a\} \textasciitilde{} b\textasciicircum{}c \textbackslash{} d\_e \#f" in odd
    for text in (long, wider, odd):
        assert text.replace(r"\{", "").count("{") == text.replace(r"\}", "").count("}")


def test_stars_and_sources_of_single_figures() -> None:
    line = next(line for line in table_1() if line.method == "ViT-Base/16")
    cells = {name: Cell(value, line.source(name), 100.0, "why") for name, value in line.values.items()}
    headings, (row,), notes = wide(PaperTable("1", "title", [Row("ViT", cells=cells)]))
    assert headings == ["", "from", ">M params", ">counted", ">GFLOPs", ">counted", ">top-1", ">counted"]
    assert row == ["ViT", "a", "86", "100.00*", "17.6", "100.00*", "77.9 b", "100.00*"]
    assert sum(note.startswith("* ViT") for note in notes) == 3
    assert "*: more than 1% apart" in notes


def test_the_command(
    some: list[PaperTable], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("gcvit.bench.tables.build", lambda names, runs, say: asked.extend(names) or some)
    runs = [reached("table_5_conv_pool"), reached("gcvit_base"), reached()]
    monkeypatch.setattr("gcvit.bench.measured.measured_in", lambda folders: runs)
    run(["s.2", "5", "S.2", "--runs", "a", "b"])
    shown = capsys.readouterr()
    assert asked == ["S.2", "5"]  # each once, as it is called
    assert "Table 5: downsamplers" in shown.out
    assert "tables S.2 5 --runs a b --format markdown" in shown.out
    assert "train classify table_5_conv_pool --help" in shown.out
    told = [line.partition("photos: ")[2] for line in shown.err.splitlines() if "not in these tables: my_run" in line]
    assert told == ["no row of this model has top-1", "no row has its architecture (all ablations are gcvit_tiny's)"]
    run(["--format", "csv"])
    assert capsys.readouterr().out.startswith("table,method,model,column,published")
    with pytest.raises(UserError, match="there is no table '6'; there are 1, 2, 3"):
        run(["6"])


def test_what_comes_next_is_a_command_for_every_table() -> None:
    assert sorted(NEXT) == sorted(TABLES)
    (recipes,) = (task.recipes for task in TASKS if task.name == "classify")
    assert all(words[2] in recipes for words in NEXT.values() if words[:2] == ["train", "classify"])


@every_task
def test_the_score_of_a_run(tmp_path: Path, task: Task, tiny: RunConfig) -> None:
    """Of any task, under the name that its own evaluations give it, in a column that a table has."""
    best = tmp_path / "best"
    best.mkdir()
    save_config(replace(tiny, ablation="table_4_swin"), tmp_path / CONFIG)
    hub = hub_config(ABLATIONS["table_4_swin"].config(), Preprocessing(), None)
    described = hub if task.name == "classify" else {"task": task.name, "backbone": hub}
    (best / CONFIG_FILE).write_text(json.dumps(described))
    metrics = dict.fromkeys(task.curves, 0.1) | {task.score: 0.4567}
    save_file({"weight": torch.zeros(1)}, best / WEIGHTS_FILE, {"metrics": json.dumps(metrics)})
    (found,) = measured_in([tmp_path, tmp_path])
    assert found.rows == ("table_4_swin",)
    column, *others = found.scores
    assert found.scores[column] == pytest.approx(45.67)
    assert column in published.SCORES
    assert all(found.scores[name] == pytest.approx(10) for name in others)
    assert others == (["box 50", "AP mask"] if task.name == "detect" else [])  # of what this run has measured
    assert found.heads == ("mask-rcnn" if task.name == "detect" else "")
    heads = f"{found.heads}, " if found.heads else ""
    assert found.trained == f"gcvit_pico, table_4_swin, {heads}224×224 px, built-in images"
    (best / CONFIG_FILE).write_text("[]")
    with pytest.raises(UserError, match="should hold a JSON object"):
        measured_in([tmp_path])


def test_scores_of_no_runs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run with weights"):
        measured_in([tmp_path])
    assert measured_in([]) == []


@pytest.mark.parametrize(
    ("model", "changes", "rows"),
    [
        ("gcvit_tiny", {"batch_size": 4096}, ("gcvit_tiny", "table_s3_128_ema")),
        ("gcvit_tiny", {"batch_size": 1024, "optim": OptimConfig(ema_decay=None)}, ("gcvit_tiny", "table_s3_32")),
        ("gcvit_tiny", {}, ("gcvit_tiny",)),
        ("gcvit_tiny", {"ablation": "open_no_bias"}, ("open_no_bias",)),
        ("gcvit_pico", {"ablation": "open_no_bias"}, ()),
        ("gcvit_pico", {"ablation": "table_4_swin"}, ("table_4_swin",)),  # which has nothing of pico's
        ("gcvit_tiny", {"arch": ArchConfig(depths=(3, 4, 5, 5))}, ()),
        ("gcvit_tiny", {"arch": ArchConfig(query_mbconvs=(1, 1, 1, 1))}, ()),
        ("gcvit_small", {"img_size": 64}, ("gcvit_small",)),
    ],
)
def test_whose_row_a_run_is(model: str, changes: dict[str, Any], rows: tuple[str, ...]) -> None:
    """Its architecture's alone, whatever its size: no figure of a small model stands beside that of a large one."""
    config = replace(TINY, **{"img_size": None, "model": model} | changes)
    assert rows_of(config, backbone_config(config, config.img_size)) == rows
