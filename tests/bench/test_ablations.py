"""Rows become what they are in small, runs are resumed, tables come from the file alone, the picture shows them."""

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import get_args

import pytest
import torch

from gcvit.bench import ablations, published
from gcvit.bench.ablation_rows import ABLATION_TABLES, OURS, PAPER, TableName, arms_of, check_arms
from gcvit.bench.ablations import STUDIES, in_small, run_ablations, settings, steps_of
from gcvit.bench.ablations_page import cells_of, draw, notes_of
from gcvit.bench.cost import macs
from gcvit.bench.settings import AblationBudget, TaskName
from gcvit.bench.study import read_rows
from gcvit.bench.tables import cost_of
from gcvit.cli import bench_ablations
from gcvit.data.shapes import write_class_folders
from gcvit.engine.device import resolve_device
from gcvit.engine.loop import TrainingDiverged
from gcvit.errors import UserError
from gcvit.model import VARIANTS, GCViT
from gcvit.model.config import DESIGN
from gcvit.tasks import TASKS, task_named
from gcvit.tasks.ablations import ABLATIONS
from gcvit.tasks.backbone import backbone_config

STATED = ("parameters", "macs", "score", "bits")
SWIN, REPARAM, KV = "table_4_swin", "table_4_reparam", "table_s2_kv"


def model_of(arm: str, budget: AblationBudget | None = None, size: int = 64) -> GCViT:
    budget = replace(budget or AblationBudget(), size=size)
    config = settings(task_named("classify"), budget, None)
    return GCViT(backbone_config(in_small(config, arm, budget), size, num_classes=10))


def test_the_arms_are_the_rows_of_the_tables() -> None:
    assert arms_of(PAPER) == [*(name for name in ABLATIONS if name.startswith("table_")), OURS]
    assert arms_of(tuple(ABLATION_TABLES)) == [*ABLATIONS, OURS]
    assert arms_of(["open"])[0] == "table_4_downsampler"  # local blocks alone
    assert arms_of(["5"]) == ["table_5_conv_pool", "table_5_pool_conv", "table_5_merging", OURS]


@pytest.mark.parametrize("arm", arms_of(tuple(ABLATION_TABLES)))
def test_an_arm_is_its_row_but_for_the_size(arm: str) -> None:
    whole = ABLATIONS[arm].config() if arm in ABLATIONS else VARIANTS[OURS]
    small = model_of(arm).config
    same = ("heads", "mlp_ratio", "layer_scale", "blocks", *DESIGN)
    assert [getattr(small, name) for name in same] == [getattr(whole, name) for name in same]
    assert (small.dim * 4, small.depths[0], small.drop_path) == (whole.dim, whole.depths[0], 0)
    for there, here in zip(whole.stage_windows, small.stage_windows, strict=True):
        ratio = {7: (4, 2), 14: (4,)}[there[0]]
        assert here[0] in ratio
    at_full = model_of(arm, AblationBudget(dim=64, deep=True), 224).config
    assert replace(at_full, num_classes=1000, windows=whole.stage_windows, drop_path=whole.drop_path) == replace(
        whole, windows=whole.stage_windows
    )
    assert at_full.stage_windows == whole.stage_windows


def test_costs_stand_to_each_other_as_the_papers() -> None:
    small = {arm: macs(model_of(arm), 64) for arm in (SWIN, REPARAM, OURS)}
    assert small[SWIN] / small[REPARAM] == pytest.approx(cost_of(SWIN)["GFLOPs"] / cost_of(REPARAM)["GFLOPs"], rel=0.02)
    assert small[OURS] / small[REPARAM] == pytest.approx(cost_of(OURS)["GFLOPs"] / cost_of(REPARAM)["GFLOPs"], rel=0.07)


def test_swin_keeps_four_windows_in_stage_3() -> None:
    assert model_of(SWIN).config.stage_windows == ((4, 4), (4, 4), (2, 2), (2, 2))
    assert model_of(REPARAM).config.stage_windows == ((4, 4), (4, 4), (4, 4), (2, 2))
    assert model_of("table_4_reparam_7").config.stage_windows == model_of(SWIN).config.stage_windows


def test_the_command_trains_resumes_and_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_class_folders(tmp_path / "data", {"train": 20, "val": 10}, 64)
    out, data = tmp_path / "out", str(tmp_path / "data")
    words = ["--data", data, "--out", str(out), "--steps", "2", "--batch-size", "2", "--device", "cpu"]
    bench_ablations.run([*words, "--arms", REPARAM, OURS, OURS, "--seeds", "2"])
    shown = capsys.readouterr().out
    rows = read_rows(out / "results.jsonl")
    assert [(row["arm"], row["seed"]) for row in rows] == [(arm, seed) for seed in (0, 1) for arm in (REPARAM, OURS)]
    assert rows[0]["macs"] == macs(model_of(REPARAM), 64)
    assert all(0 <= row["score"] <= 1 and -20 < row["bits"] < 3.33 for row in rows)
    assert rows[0]["bits"] != rows[2]["bits"]
    again = f"gcvit bench ablations --data {data} --out {out}-8 --arms {REPARAM} {OURS} --seeds 2 --device cpu"
    assert f"{again} --steps 8 --batch-size 2\n" in shown
    assert "Table 4 in small" in shown
    assert f"written: {out / 'results.jsonl'}" in shown
    done = f"classify, {data}; 2 steps of 2 pictures, peak rate 0.0005, 64 px, width 16\non processor "
    assert done in shown
    assert {path.name for path in out.iterdir()} >= {"results.jsonl", "ablations.md"}

    trained = []
    one_run = ablations.one_run
    monkeypatch.setattr(ablations, "one_run", lambda *given: trained.append(given[1]) or one_run(*given))
    monkeypatch.chdir(tmp_path)
    words[1] = "./data/"  # is the same place
    bench_ablations.run([*words, "--tables", "5", "5", "--seeds", "1"])
    shown, page = capsys.readouterr().out, (out / "ablations.md").read_text()
    assert ("Table 4" in shown.partition("top-1 in %")[0], shown.count("Table 5 in small")) == (False, 1)
    assert [line[4:11] for line in page.splitlines() if line.startswith("#")] == ["Table 4", "Table 5"]
    assert done in page
    assert trained == ["table_5_conv_pool", "table_5_pool_conv", "table_5_merging"]
    assert read_rows(out / "results.jsonl")[:4] == rows
    assert (out / "ablations.png").is_file()

    with pytest.raises(UserError, match="another budget: steps: 2 → 3"):
        run_ablations(out, "classify", AblationBudget(steps=3, batch_size=2), data=data)
    monkeypatch.setattr(ablations, "resolve_device", lambda device: torch.device("cuda"))  # which computes otherwise
    with pytest.raises(UserError, match='another budget: device: "cpu" → "cuda"'):
        run_ablations(out, "classify", AblationBudget(steps=2, batch_size=2), data=data)


def test_the_same_name_elsewhere_is_other_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablations, "one_run", lambda *_: {key: row(KV, 0, 0.5)[key] for key in STATED})
    monkeypatch.setattr(ablations, "_open", lambda *_: None)
    for name in ("here", "there"):
        write_class_folders(tmp_path / name / "data", {"train": 20, "val": 10}, 64)
    monkeypatch.chdir(tmp_path / "here")
    run_ablations(tmp_path / "out", "classify", AblationBudget(), data="data", arms=[KV])
    monkeypatch.chdir(tmp_path / "there")
    with pytest.raises(UserError, match=r"another budget: data: .*here/data.* → .*there/data"):
        run_ablations(tmp_path / "out", "classify", AblationBudget(), data="data", arms=[KV])


def test_a_damaged_picture_names_the_way_out(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "data", {"train": 20, "val": 10}, 64)
    for picture in (tmp_path / "data/train").glob("*/*"):
        picture.write_bytes(picture.read_bytes()[:100])
    budget, data = AblationBudget(steps=1, batch_size=2), str(tmp_path / "data")
    with pytest.raises(
        UserError, match=rf"^{KV}, seed 0: cannot read .*\. `.*gcvit doctor {data}` finds all such images"
    ):
        run_ablations(tmp_path / "out", "classify", budget, data=data, arms=[KV], device="cpu")


def test_wrong_data_are_told_before_anything_begins(tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(UserError, match="nowhere"):
        run_ablations(tmp_path, "classify", AblationBudget(), data="nowhere", arms=[KV], progress=said.append)
    assert said == []


def test_a_stop_says_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def one_run(task: object, arm: str, *_: object) -> dict:
        if arm == OURS:
            raise KeyboardInterrupt
        return {key: row(KV, 0, 0.5)[key] for key in STATED}

    monkeypatch.setattr(ablations, "one_run", one_run)
    with pytest.raises(KeyboardInterrupt, match=r"results\.jsonl has 1 finished run; the same command goes on"):
        run_ablations(tmp_path, "classify", AblationBudget(), arms=[KV, OURS])


def test_the_same_run_is_the_same(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "data", {"train": 20, "val": 10}, 64)
    first, again = (
        run_ablations(
            tmp_path / name,
            "classify",
            AblationBudget(steps=2, batch_size=2),
            data=str(tmp_path / "data"),
            arms=[OURS],
            seeds=1,
            device="cpu",
        )
        for name in ("first", "again")
    )
    assert first[0]["bits"] == again[0]["bits"]


@pytest.mark.parametrize("task", ["segment", "detect"])
def test_other_tasks_train_on_their_scenes(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = replace(settings(task_named(task), AblationBudget(steps=1, batch_size=2), None), val_images=2)
    monkeypatch.setattr(ablations, "settings", lambda *_: few)
    (row,) = run_ablations(tmp_path, task, AblationBudget(), arms=[SWIN], seeds=1, device="cpu")
    assert 0 <= row["score"] < 1
    assert (row["bits"] is None) == (task == "detect")
    size = STUDIES[task].size
    assert (
        macs(model_of(SWIN, size=size), size) - 10_000 < row["macs"] < macs(model_of(SWIN, size=size), size)
    )  # no heads


def test_every_task_has_its_size() -> None:
    assert set(STUDIES) == set(get_args(TaskName)) == {task.name for task in TASKS}
    for task in TASKS:
        at = {size: settings(task, AblationBudget(size=size), None) for size in (None, 160)}
        assert at[None].img_size == STUDIES[task.name].size
        assert at[160].img_size == 160
        recipe = task.recipes["small_images" if task.name == "classify" else f"{task.name}_small"].config()
        assert at[None].optim.lr == (STUDIES[task.name].lr or recipe.optim.lr)
        assert settings(task, AblationBudget(lr=0.5), None).optim.lr == 0.5
    assert settings(task_named("segment"), AblationBudget(size=160), None).augment.crop == (160, 160)  # type: ignore[attr-defined]
    assert settings(task_named("detect"), AblationBudget(size=160), None).scene_size == 160  # type: ignore[attr-defined]


def row(arm: str, seed: int, score: float, task: str = "classify") -> dict:
    return {
        "arm": arm,
        "seed": seed,
        "parameters": 1234,
        "macs": 2_000_000,
        "score": score,
        "bits": None if task == "detect" else 0.5 + seed / 10,
        "budget": {"task": task},
    }


def test_steps_are_what_the_file_says() -> None:
    rows = [row(REPARAM, seed, 0.5 + seed / 10) for seed in range(3)]
    rows += [row("table_4_reparam_7", seed, 0.4 + seed / 10) for seed in range(3)]
    rows += [row("table_4_stem", seed, 0.51 + seed * 0.11) | {"bits": 1.0} for seed in range(2)]
    rows += [row(OURS, 0, 0.7)]
    first, sevens, stem, ours = steps_of(list(reversed(rows)), ["4"])
    assert (first.arm, first.seeds, first.score[:2]) == (REPARAM, 3, (0.6, pytest.approx(0.1)))
    assert first.bits == (pytest.approx(0.6), pytest.approx(0.1), None)
    assert (first.before, first.step, first.bits_step, first.agrees) == ("table_4_no_shift", None, None, None)
    assert first.published == 1.7
    assert (sevens.before, sevens.published, sevens.agrees) == (REPARAM, None, None)
    assert sevens.step == (pytest.approx(-0.1), pytest.approx(0), None)
    assert stem.before == REPARAM  # over the seeds that both have
    assert stem.step is not None
    assert stem.step[:2] == (pytest.approx(0.015), pytest.approx(0.01 / 2**0.5))
    assert stem.step.p == pytest.approx(0.2048, abs=1e-4)  # t = 3 with one degree of freedom
    assert stem.bits_step is not None
    assert stem.bits_step[:2] == (pytest.approx(0.45), pytest.approx(0.1 / 2**0.5))
    assert (stem.published, stem.agrees) == (0.3, True)
    assert (ours.before, ours.step, ours.score) == ("table_4_downsampler", None, (0.7, None, None))


def test_other_tables_are_compared_with_ours() -> None:
    rows = [row(KV, 0, 0.6), row(OURS, 0, 0.5), row("table_5_merging", 0, 0.4)]
    kv, last = steps_of(rows, ["S.2"])
    assert (kv.before, kv.step, kv.published, kv.agrees) == (OURS, (pytest.approx(0.1), None, None), -0.9, False)
    assert (last.before, last.step) == (None, None)
    merging, _ = steps_of(rows, ["5"])
    assert (merging.step, merging.published, merging.agrees) == ((pytest.approx(-0.1), None, None), -0.5, True)


def test_no_step_has_no_direction() -> None:
    rows = [row(KV, seed, 0.1 + 0.2) for seed in range(2)] + [row(OURS, seed, 0.3) for seed in range(2)]
    kv, _ = steps_of(rows, ["S.2"])
    assert kv.step is not None
    assert 0 < kv.step.mean < 1e-9
    assert (kv.agrees, kv.step.p) == (None, 1)
    assert cells_of(kv)[6:9] == ["+0.00 ± 0.00", "1.000", "-0.9"]


@pytest.mark.parametrize(("task", "before"), [("classify", -1.1), ("segment", -2.8), ("detect", -2.8)])
def test_the_step_without_shifts_is_of_one_source(task: str, before: float) -> None:
    rows = [row(arm, 0, 0.5, task) for arm in (SWIN, "table_4_no_shift")]
    assert steps_of(rows, ["4"])[1].published == before
    made = settings(task_named(task), AblationBudget(), None)
    rows[0]["budget"] = ablations.as_dict(made) | {"task": task, "deep": False, "dim": 16}
    notes = " ".join(notes_of(rows, STUDIES[task].score))
    assert ("Swin's own ablation" in notes) == (task != "classify")


def test_names_in_the_picture_lie_apart_and_inside() -> None:
    arms = {SWIN: 0.3, "table_4_no_shift": 0.29, REPARAM: 0.5, "table_5_conv_pool": 0.41, "table_5_merging": 0.409}
    found = steps_of([row(arm, 0, score) for arm, score in (arms | {OURS: 0.42}).items()], ["4", "5"])
    figure = draw([step for step in found if step.step and step.published is not None])
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 4
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert all(axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 for box in boxes)


@pytest.mark.parametrize(("task", "published_step"), [("segment", -2.4), ("detect", -1.7)])
def test_a_tasks_own_column_is_compared(task: str, published_step: float) -> None:
    kv, _ = steps_of([row(KV, 0, 0.6, task), row(OURS, 0, 0.5, task)], ["S.2"])
    assert kv.published == published_step
    assert (kv.bits is None) == (kv.bits_step is None) == (task == "detect")
    assert published.TABLE_S2[0][1] == KV


def test_tables_are_made_from_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever it says: nothing is trained that is there."""
    config = settings(task_named("classify"), AblationBudget(), None)
    kept = {key: value for key, value in ablations.as_dict(config).items() if key not in config.free}
    budget = {"task": "classify", "dim": 16, "deep": False, **kept, "device": resolve_device("auto").type}
    rows = [row(arm, seed, 0.5 + seed / 100 + (arm == OURS) / 10) for seed in range(3) for arm in (KV, OURS)]
    rows[0]["score"] -= 0.001
    text = "".join(json.dumps(line | {"budget": budget}) + "\n" for line in rows)
    (tmp_path / "results.jsonl").write_text(text)
    bench_ablations.run(["--out", str(tmp_path), "--arms", KV, OURS, "--tables", "S.2"])
    shown = capsys.readouterr().out
    assert "61.00 ± 1.00" in shown
    assert "-10.03 ± 0.06*" in shown
    page = (tmp_path / "ablations.md").read_text()
    shown = "| 3 | 50.97 ± 1.05 | -10.03 ± 0.06* | 0.000 | -0.9 | yes | 0.600 ± 0.100 | +0.000 ± 0.000 | 1.000 |"
    assert shown in page
    assert f"### Table S.2 in small: {ABLATION_TABLES['S.2']}" in page
    assert (tmp_path / "ablations.svg").is_file()


@pytest.mark.parametrize(("setting", "value"), [("steps", 0), ("dim", 24), ("lr", 0.0), ("size", 32), ("size", 80)])
def test_settings_out_of_range_are_named(setting: str, value: float) -> None:
    with pytest.raises(UserError, match=f"^{setting} must be"):
        AblationBudget(**{setting: value})  # type: ignore[arg-type]


def test_an_unknown_row_is_told(tmp_path: Path) -> None:
    said = r"no row of Table 4, Table 5, Table S\.2, open is called 'table_s2_vk'; did you mean table_s2_v"
    with pytest.raises(UserError, match=said):
        run_ablations(tmp_path, "classify", AblationBudget(), arms=["table_s2_vk"])


def test_a_row_of_another_table_is_told() -> None:
    with pytest.raises(UserError, match=r"called 'open_no_bias'; add --tables open"):
        check_arms(["open_no_bias"], PAPER)
    with pytest.raises(UserError, match=f"^no row of Table 4 is called '{KV}'"):
        bench_ablations.run(["--tables", "4", "--arms", KV])


def test_what_rows_are_compared_with_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ablations, "one_run", lambda *_: {k: row(KV, 0, 0.5)[k] for k in STATED})
    bench_ablations.run(["--arms", KV, "--seeds", "1", "--out", str(tmp_path), "--device", "cpu"])
    assert f"not trained, though rows are compared with them: {OURS}\n" in capsys.readouterr().out


def test_a_run_that_diverges_names_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverges(*_: object) -> None:
        raise TrainingDiverged("the loss is nan")

    monkeypatch.setattr(ablations, "one_run", diverges)
    with pytest.raises(UserError, match=rf"^{KV}, seed 0: the loss is nan; give another --out with --lr below 0\.0005"):
        run_ablations(tmp_path, "classify", AblationBudget(), arms=[KV], device="cpu")


def test_at_least_one_table_is_asked_for() -> None:
    with pytest.raises(UserError, match=r"^--tables must be at least one"):
        bench_ablations.run(["--tables"])


def test_the_flags_say_what_the_defaults_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert tuple(ABLATION_TABLES) == get_args(TableName)
    with pytest.raises(SystemExit):
        bench_ablations.run(["--help"])
    said = " ".join(word for word in capsys.readouterr().out.split() if word != "│")
    assert f"none: {', '.join(f'{study.steps} for {name}' for name, study in STUDIES.items())}" in said
    assert f"none: {STUDIES['classify'].lr:.0e}".replace("e-0", "e-") in said
    assert f"none: {', '.join(f'{study.size} for {name}' for name, study in STUDIES.items())}" in said
