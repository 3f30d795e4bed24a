"""`gcvit train TASK`: where settings come from, and what a run leaves and says."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gcvit.errors import UserError
from gcvit.tasks import TASKS
from gcvit.tasks.classify.loss import ClassifyLoss
from gcvit.tasks.segment.loss import SegmentLoss
from gcvit.tasks.task import Task

from .conftest import SHORT, SHORT_RUNS, Command, Example


def test_a_run_shows_its_result_and_what_to_type_next(gcvit: Command, example: Example) -> None:
    if example.task == "segment":  # with more to train on
        shutil.copytree(example.data, "scenes")
        shutil.rmtree("scenes/images/training")
        shutil.rmtree("scenes/annotations/training")
        for kind in ("images", "annotations"):
            shutil.copytree(example.data / kind / "validation", Path("scenes") / kind / "training")
    data = example.data if example.task == "classify" else Path("scenes")
    result = gcvit("train", example.task, "--data", data, "--out", "mine", *SHORT_RUNS[example.task])
    assert result.code == 0, result.err
    named, count, words = {
        "classify": ("predictions.png", 20, ["top-5", "0.48 M parameters for 10 classes"]),
        "segment": ("predictions.png", 5, ["boundary IoU", "M parameters for 11 classes"]),
    }[example.task]
    assert f"{count} held-out images" in result.out
    for word in words:  # what is trained, on what, is said before it starts
        assert word in result.out + result.err
    for file in ("report.html", "best/model.safetensors", "best/config.json", "curves.png", named):
        assert Path("mine", file).is_file()
    files = [line.split()[-1] for line in result.out.splitlines() if "mine/" in line]
    assert files[:5] == [f"mine/{name}" for name in ("report.html", "best", "last", "curves.png", named)]
    assert result.next == [["eval", "mine"], ["predict", "mine", "photo.jpg"], ["info", "mine"]]
    again = gcvit("eval", "mine", "--json", "--device", "cpu")
    assert again.code == 0, again.err
    end = json.loads(Path("mine/log.jsonl").read_text().splitlines()[-1])
    assert json.loads(again.out)[example.score] == pytest.approx(end[example.score], abs=1e-9)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_flags_win_over_the_file_over_the_recipe(gcvit: Command, monkeypatch: pytest.MonkeyPatch, task: Task) -> None:
    used: list[Any] = []

    def train(task: Task, config: Any, out: Path | None, *, name: str, resume: str) -> None:
        used.append(config)
        raise UserError(f"{task.name} {name} would train into {out}, resume {resume}")

    monkeypatch.setattr("gcvit.tasks.train.train", train)
    recipe = {"classify": "small_images", "segment": "ade20k_tiny", "detect": "detect_small"}[task.name]
    length = "epochs" if task.name == "classify" else "steps"
    nested = {"classify": "[augment]\nmixup = 0.5", "segment": "[head]\nnorm = 'group'"}.get(
        task.name, "[head]\nnorm = 'batch'"
    )
    warmup = 'warmup = "0 epochs"' if task.name == "classify" else 'warmup = "9 steps"'
    Path("mine.toml").write_text(f"{length} = 2000\nseed = 5\n[optim]\nlr = 1e-4\n{warmup}\n{nested}\n")
    words = [recipe, "--config=mine.toml", "--out", "o", f"--{length}", "3000", "--lr", "0.5e-3"]
    words += ["--clip-grad", "none", "--data", "photos", "--resume", "never", "--arch.depths", "2", "2", "6", "2"]
    assert f"{task.name} {recipe} would train into o, resume never" in gcvit("train", task.name, *words).err
    usual = task.recipes[recipe].config()
    warm = {"warmup": "0 epochs"} if task.name == "classify" else {"warmup": "9 steps"}
    deep = (
        {"augment": replace(usual.augment, mixup=0.5)}
        if task.name == "classify"
        else {"head": replace(usual.head, norm="group" if task.name == "segment" else "batch")}
    )
    expected = replace(
        usual,
        data="photos",
        seed=5,  # file over recipe
        arch=replace(usual.arch, depths=(2, 2, 6, 2)),
        optim=replace(usual.optim, lr=0.5e-3, clip_grad=None, **warm),  # the same, in a nested table
        **deep,
        **{length: 3000},  # flag over file
    )
    assert used == [expected]
    assert type(used[0]) is task.config
    assert len(task.recipes) > 1


def test_the_config_of_another_task_is_told_as_such(gcvit: Command, example: Example) -> None:
    for task in TASKS:
        result = gcvit("train", task.name, "--config", example.run / "train.json", "--data", "nowhere")
        assert result.code == 2
        hint = f"; the file fits gcvit train {example.task}"
        assert result.err.strip().endswith(hint) == (task.name != example.task), result.err


def test_a_config_that_is_wrong_for_its_own_task_is_not_called_another_ones(gcvit: Command, tmp_path: Path) -> None:
    for task in TASKS:
        usual = next(iter(task.recipes.values())).config()
        path = tmp_path / f"{task.name}.toml"
        path.write_text("steps = 100" if usual.steps is None else "epochs = 3")
        result = gcvit("train", task.name, "--config", path)
        assert "a run is counted in epochs or in steps" in result.err
        assert "fits" not in result.err


@pytest.mark.usefixtures("without_report")
def test_the_config_of_a_run_repeats_it_in_a_folder_of_its_own(gcvit: Command, example: Example) -> None:
    result = gcvit("train", example.task, "--config", example.run / "train.json")
    assert result.code == 0, result.err
    (again,) = Path("gcvit-runs").iterdir()
    assert again.name == {"classify": "quickstart-001", "segment": "segment_small-001"}[example.task]
    before, after = (load_file(folder / "last" / "model.safetensors") for folder in (example.run, again))
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_list_shows_every_recipe_and_what_it_costs(gcvit: Command, task: Task) -> None:
    result = gcvit("train", task.name, "--list")
    assert result.code == 0
    lines = [line.rstrip() for line in result.out.splitlines()]
    for name, recipe in task.recipes.items():
        (row,) = (line for line in lines if line.split(" ")[0] == name)
        assert row.endswith(("core", "cores", "hours", "images", "crops"))
        assert recipe.cost.startswith(row.split("  ")[-1].strip())
    assert max(map(len, lines)) <= 80
    assert f"gcvit train {task.name} " in result.out
    assert list(Path().iterdir()) == []


def test_a_recipes_help_says_all_about_it(gcvit: Command) -> None:
    result = gcvit("train", "classify", "imagenet_base", "--help")
    assert result.code == 0
    assert result.out.startswith("imagenet_base: ImageNet: GC ViT-B at 224 px.\n\nCost: about 1,400 A100-hours")
    assert "Top-1: the paper 84.4; the published checkpoint 85.0" in result.out
    assert "torchrun --nproc-per-node 8 -m gcvit train classify imagenet_base --data" in result.out
    assert "(default: gcvit_base)" in " ".join(result.out.replace("│", " ").split())


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_help_is_for_those_who_type(gcvit: Command, task: Task) -> None:
    said = gcvit("train", task.name, "--help").out
    assert "--layer-decay" in said
    assert "--arch.depths" in said
    assert "--resume {auto,never}" in said
    assert "Raises" not in said
    assert "UserError" not in said


@pytest.mark.usefixtures("without_charts")
def test_few_classes_have_no_top_5(gcvit: Command, folders: Path) -> None:
    for split in ("train", "val"):
        for name in sorted((folders / split).iterdir())[:3]:
            (Path("few") / split).mkdir(parents=True, exist_ok=True)
            (Path("few") / split / name.name).symlink_to(name)
    result = gcvit("train", "classify", "--data", "few", "--out", "mine", *SHORT, "--batch-size", "4")
    assert result.code == 0, result.err
    assert "top-1" in result.out
    assert "top-5" not in result.out


@pytest.mark.usefixtures("without_report")
def test_fine_tuning_takes_model_size_and_classes_from_a_run(gcvit: Command, folders: Path, run_folder: Path) -> None:
    words = ["--data", folders, "--weights", run_folder, "--batch-size", "20", "--epochs", "1", "--workers", "0"]
    result = gcvit("train", "classify", "finetune", *words, "--device", "cpu", "--out", "mine")
    assert result.code == 0, result.err
    used = json.loads(Path("mine/train.json").read_text())
    assert (used["model"], used["img_size"], used["weights"]) == ("gcvit_pico", [64, 64], str(run_folder))
    assert "parameters loaded as they are" in result.err
    assert "fresh head" not in result.err
    assert "×0.9 for each layer further from the head" in " ".join(result.err.split())


def test_only_one_of_several_processes_speaks(gcvit: Command, folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gcvit.distributed.is_main", lambda: False)
    result = gcvit("train", "classify", "--data", folders, "--out", "mine", *SHORT)
    assert result.code == 0, result.err
    assert result.out == ""


@pytest.mark.parametrize("given", ["table_s2_v", "none", "in a file"])
def test_a_recipe_that_is_an_ablation_takes_no_other(gcvit: Command, tmp_path: Path, given: str) -> None:
    (tmp_path / "mine.toml").write_text('ablation = "table_s2_v"')
    words = ["--config", tmp_path / "mine.toml"] if given == "in a file" else ["--ablation", given]
    result = gcvit("train", "classify", "table_4_swin", *words, "--data", tmp_path)
    assert result.code == 2
    other = "none" if given == "none" else "table_s2_v"
    assert f"the recipe table_4_swin is the ablation table_4_swin, and ablation is set to {other}" in result.message
    same = gcvit("train", "classify", "table_4_swin", "--ablation", "table_4_swin", "--data", tmp_path / "nowhere")
    assert "nowhere" in same.message


@pytest.mark.parametrize(("task", "loss"), [("classify", ClassifyLoss), ("segment", SegmentLoss)])
def test_ctrl_c_says_what_was_kept(gcvit: Command, monkeypatch: pytest.MonkeyPatch, task: str, loss: type) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(loss, "__call__", stop)
    short = SHORT_RUNS[task]
    result = gcvit("train", task, "--out", "out", "--train-images", "20", "--val-images", "10", *short)
    assert result.code == 130
    assert "gcvit: stopped. out holds what was saved before" in result.err
    assert "Traceback" not in result.err


MISTAKES: dict[str, list[tuple[str, str]]] = {
    "classify": [
        ("quikstart", "did you mean quickstart"),
        ("small_images", "small_images needs your images: add --data PATH"),
        ("imagenet_tiny --epochs 400", "imagenet_tiny needs your images: add --data PATH"),
        ("--seed 3 small_images", "give the recipe first"),
        ("--rand-augment rand-x9", "rand_augment must be like"),
        ("--epochs 0", "epochs must be at least 1"),
        ("--epochs three", "--epochs"),
    ],
    "segment": [
        ("ade20k_tinny", "did you mean ade20k_tiny?"),
        ("ade20k_tiny", "ade20k_tiny needs your images: add --data PATH"),
        ("--steps 0", "steps must be at least 1"),
        ("--batch-size 1", "batch norm needs at least 2 images"),
        ("--crop 8 8", "crop must be at least 32"),
    ],
    "classify segment": [
        ("xyzzy", "--list shows them"),
        ("empty", "--data empty"),
        ("--epoch 3", "--epochs"),
        ("--seed three", "--seed"),
        ("--model gcvit_tyny", "gcvit_tiny"),
        ("--arch.depths 1 2 2 2", "depths"),
        ("--arch.heads 7 2 2 2", "heads"),
        ("--img-size 31", "32"),
        ("--device cuda:99", "cuda:99"),
        ("--config absent.toml", "absent.toml"),
        ("--config broken.toml", "broken.toml"),
        ("--config unknown.toml", "did you mean 'optim.lr'"),
        ("--config mine.yaml", ".toml or .json"),
        ("--data absent", "absent"),
        ("--weights note.safetensors", "note.safetensors"),
        ("--data empty", "empty"),
        ("--out note.safetensors", "note.safetensors"),
    ],
}


@pytest.mark.parametrize(
    ("task", "words", "said"),
    [(task, *mistake) for tasks, mistakes in MISTAKES.items() for task in tasks.split() for mistake in mistakes],
)
def test_a_mistake_is_answered_before_anything_is_written(gcvit: Command, task: str, words: str, said: str) -> None:
    Path("broken.toml").write_text("epochs = = 3")
    Path("unknown.toml").write_text("[optim]\nlrr = 1\n")
    Path("mine.yaml").write_text("epochs: 3")
    Path("note.safetensors").write_text("not weights")
    Path("empty").mkdir()
    before = sorted(Path().rglob("*"))
    result = gcvit("train", task, *words.split())
    assert result.code == 2
    assert said in result.message
    assert "Traceback" not in result.err
    assert sorted(Path().rglob("*")) == before


def test_a_folder_with_results_is_left_alone(gcvit: Command, example: Example) -> None:
    before = {path: path.read_bytes() for path in example.run.rglob("*") if path.is_file()}
    result = gcvit("train", example.task, "--out", example.run, *SHORT_RUNS[example.task])
    assert result.code == 2
    assert str(example.run) in result.err
    assert {path: path.read_bytes() for path in example.run.rglob("*") if path.is_file()} == before


def test_the_task_is_named_first(gcvit: Command) -> None:
    for words in ([], ["--epochs", "3"]):
        result = gcvit("train", *words)
        assert result.code == 2
        assert "gcvit train classify or gcvit train segment" in result.message
    result = gcvit("train", "clasify")
    assert result.code == 2
    assert "did you mean classify?" in result.message
