"""`gcvit train classify`: where settings come from, and what a run leaves and says."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gcvit.cli import train_classify
from gcvit.recipes import CLASSIFY
from gcvit.tasks.classify import ClassifyConfig
from gcvit.tasks.classify.task import ClassifyTask

from .conftest import SHORT, Command


def test_a_run_shows_its_result_and_what_to_type_next(gcvit: Command, folders: Path) -> None:
    result = gcvit("train", "classify", "--data", folders, "--out", "mine", *SHORT)
    assert result.code == 0, result.err
    assert "of 20 held-out images" in result.out
    assert "top-5" in result.out
    for file in ("report.html", "best/model.safetensors", "best/config.json", "curves.png", "predictions.png"):
        assert Path("mine", file).is_file()
    files = [line.split()[-1] for line in result.out.splitlines() if "mine/" in line]
    assert files[:5] == [f"mine/{name}" for name in ("report.html", "best", "last", "curves.png", "predictions.png")]
    assert f"gcvit eval classify mine/best --data {folders}" in result.out.split("Next:")[1]
    assert "0.48 M parameters" in result.err  # what is trained, on what, is said before it starts
    assert "10 classes" in result.err


def test_after_training_on_an_undivided_folder_eval_measures_what_was_held_out(gcvit: Command, folders: Path) -> None:
    data, share = folders / "train", ["--val-fraction", "0.3", "--seed", "4"]
    result = gcvit("train", "classify", "--data", data, "--out", "mine", *share, *SHORT)
    assert result.code == 0, result.err
    (command,) = (line for line in result.out.splitlines() if "gcvit eval" in line)
    assert command.split() == ["gcvit", "eval", "classify", "mine/best", "--data", str(data), *share]
    again = gcvit(*command.split()[1:], "--json", "--device", "cpu")
    assert again.code == 0, again.err
    found = json.loads(again.out)
    end = json.loads(Path("mine/log.jsonl").read_text().splitlines()[-1])
    assert found["images"] == 10
    assert found["top1"] == end["top1"]


def test_flags_win_over_the_file_over_the_recipe(gcvit: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[ClassifyConfig] = []

    def train(config: ClassifyConfig, out: Path | None, *, name: str, resume: str) -> None:
        used.append(config)
        raise ValueError(f"{name} would train into {out}, resume {resume}")

    monkeypatch.setattr(train_classify, "train", train)
    Path("mine.toml").write_text("epochs = 7\nseed = 5\n[optim]\nlr = 1e-4\nwarmup_epochs = 0\n")
    words = [
        "small_images",
        "--config=mine.toml",
        "--out",
        "o",
        "--epochs",
        "1",
        "--lr",
        "0.5e-3",
        "--clip-grad",
        "none",
        "--data",
        "photos",
        "--resume",
        "never",
    ]
    assert "small_images would train into o, resume never" in gcvit("train", "classify", *words).err
    recipe = CLASSIFY["small_images"]()
    expected = replace(
        recipe,
        data="photos",
        epochs=1,  # flag over file
        seed=5,  # file over recipe
        optim=replace(recipe.optim, lr=0.5e-3, warmup_epochs=0.0, clip_grad=None),  # the same, in a nested table
    )
    assert used == [expected]
    assert recipe != CLASSIFY["quickstart"]()


def test_the_config_of_a_run_repeats_it_in_a_folder_of_its_own(gcvit: Command, run_folder: Path) -> None:
    result = gcvit("train", "classify", "--config", run_folder / "train.json")
    assert result.code == 0, result.err
    (again,) = Path("gcvit-runs").iterdir()
    assert again.name == "quickstart-001"
    before, after = (load_file(folder / "last" / "model.safetensors") for folder in (run_folder, again))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_list_shows_every_recipe_and_what_it_costs(gcvit: Command) -> None:
    result = gcvit("train", "classify", "--list")
    assert result.code == 0
    rows = [line.rstrip() for line in result.out.splitlines()]
    for name in CLASSIFY:
        (row,) = (line for line in rows if line.split(" ")[0] == name)
        assert row.endswith(("cores", "A100-hours", "images"))
    assert max(map(len, rows)) <= 80
    assert list(Path().iterdir()) == []


def test_a_recipes_help_says_all_about_it(gcvit: Command) -> None:
    result = gcvit("train", "classify", "imagenet_base", "--help")
    assert result.code == 0
    assert result.out.startswith("imagenet_base: ImageNet: GC ViT-B at 224 px.\n\nCost: about 1,400 A100-hours")
    assert "Top-1: the paper 84.4; the published checkpoint 85.0" in result.out
    assert "torchrun --nproc-per-node 8 -m gcvit train classify imagenet_base --data" in result.out
    assert "(default: gcvit_base)" in " ".join(result.out.replace("│", " ").split())


def test_help_is_for_those_who_type(gcvit: Command) -> None:
    said = gcvit("train", "classify", "--help").out
    assert "--layer-decay" in said
    assert "--resume {auto,never}" in said
    assert "Raises" not in said
    assert "ValueError" not in said


def test_few_classes_have_no_top_5(gcvit: Command, folders: Path) -> None:
    for split in ("train", "val"):
        for name in sorted((folders / split).iterdir())[:3]:
            (Path("few") / split).mkdir(parents=True, exist_ok=True)
            (Path("few") / split / name.name).symlink_to(name)
    result = gcvit("train", "classify", "--data", "few", "--out", "mine", *SHORT, "--batch-size", "4")
    assert result.code == 0, result.err
    assert "top-1" in result.out
    assert "top-5" not in result.out


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
    monkeypatch.setattr(train_classify, "is_main", lambda: False)
    result = gcvit("train", "classify", "--data", folders, "--out", "mine", *SHORT)
    assert result.code == 0, result.err
    assert result.out == ""


def test_ctrl_c_says_what_was_kept(gcvit: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ClassifyTask, "loss", stop)
    result = gcvit("train", "classify", "--out", "out", "--train-images", "20", "--val-images", "10", *SHORT)
    assert result.code == 130
    assert "gcvit: stopped. out holds what was saved before" in result.err
    assert "out" in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["quikstart"], "did you mean quickstart"),
        (["xyzzy"], "gcvit train classify --list shows them"),
        (["small_images"], "small_images needs your images: add --data PATH"),
        (["imagenet_tiny", "--epochs", "400"], "imagenet_tiny needs your images: add --data PATH"),
        (["empty"], "--data empty"),
        (["--seed", "3", "small_images"], "give the recipe first"),
        (["--epoch", "3"], "--epochs"),
        (["--epochs", "three"], "--epochs"),
        (["--rand-augment", "rand-x9"], "rand_augment must be like"),
        (["--epochs", "0"], "epochs must be at least 1"),
        (["--model", "gcvit_tyny"], "gcvit_tiny"),
        (["--img-size", "31"], "32"),
        (["--device", "cuda:99"], "cuda:99"),
        (["--config", "absent.toml"], "absent.toml"),
        (["--config", "broken.toml"], "broken.toml"),
        (["--config", "unknown.toml"], "did you mean 'optim.lr'"),
        (["--config", "mine.yaml"], ".toml or .json"),
        (["--data", "absent"], "absent"),
        (["--weights", "note.safetensors"], "note.safetensors"),
        (["--data", "empty"], "empty"),
        (["--out", "note.safetensors"], "note.safetensors"),
    ],
)
def test_a_mistake_is_answered_before_anything_is_written(gcvit: Command, words: list[str], said: str) -> None:
    Path("broken.toml").write_text("epochs = = 3")
    Path("unknown.toml").write_text("[optim]\nlrr = 1\n")
    Path("mine.yaml").write_text("epochs: 3")
    Path("note.safetensors").write_text("not weights")
    Path("empty").mkdir()
    before = sorted(Path().rglob("*"))
    result = gcvit("train", "classify", *words)
    assert result.code == 2
    assert said in result.err
    assert "Traceback" not in result.err
    assert sorted(Path().rglob("*")) == before


def test_a_folder_with_results_is_left_alone(gcvit: Command, run_folder: Path) -> None:
    before = {path: path.read_bytes() for path in run_folder.rglob("*") if path.is_file()}
    result = gcvit("train", "classify", "--out", run_folder, *SHORT)
    assert result.code == 2
    assert str(run_folder) in result.err
    assert {path: path.read_bytes() for path in run_folder.rglob("*") if path.is_file()} == before
