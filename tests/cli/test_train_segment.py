"""`gcvit train segment`: where settings come from, and what a run leaves and says."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gcvit.cli import train_segment
from gcvit.data.scenes import write_segmentation_folders
from gcvit.recipes import SEGMENT
from gcvit.tasks.segment.config import SegmentConfig

from .conftest import Command

# What a run leaves behind matters here, not what it learns.
SHORT = ["--steps", 3, "--eval-every", 2, "--warmup-steps", 1, "--batch-size", 2, "--norm", "group", "--crop", 48, 48]
SHORT += ["--channels", 8, "--aux-channels", 8, "--device", "cpu"]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in scenes as folders. Do not change them."""
    root = tmp_path_factory.mktemp("data") / "scenes"
    write_segmentation_folders(root, {"train": 4, "val": 2}, (48, 64))
    return root


def test_a_run_shows_its_result_and_commands_that_work(gcvit: Command, scenes: Path) -> None:
    result = gcvit("train", "segment", "--data", scenes, "--out", "mine", *SHORT)
    assert result.code == 0, result.err
    assert "of 2 held-out scenes" in result.out
    assert "M parameters with heads for 11 classes" in result.err
    commands = [line.split() for line in result.out.split("Next:")[1].splitlines() if line.strip()]
    assert commands[0] == ["gcvit", "eval", "segment", "mine/best", "--data", str(scenes)]
    again = gcvit(*commands[0][1:], "--json", "--device", "cpu")
    assert again.code == 0, again.err
    end = json.loads(Path("mine/log.jsonl").read_text().splitlines()[-1])
    assert json.loads(again.out)["miou"] == pytest.approx(end["miou"], abs=1e-9)
    picture = str(next((scenes / "images" / "validation").iterdir()))
    predicted = gcvit(*[picture if word == "photo.jpg" else word for word in commands[1][1:]])
    assert predicted.code == 0, predicted.err


def test_after_training_on_an_undivided_folder_eval_measures_what_was_held_out(gcvit: Command, scenes: Path) -> None:
    (Path("mine/images")).mkdir(parents=True)
    for kind in ("images", "annotations"):
        (Path("mine") / kind).mkdir(exist_ok=True)
        for file in (scenes / kind / "training").iterdir():
            (Path("mine") / kind / file.name).write_bytes(file.read_bytes())
    Path("mine/classes.txt").write_text((scenes / "classes.txt").read_text())
    share = ["--val-fraction", "0.5", "--seed", "4"]
    result = gcvit("train", "segment", "--data", "mine", "--out", "run", *share, *SHORT)
    assert result.code == 0, result.err
    (command,) = (line.split() for line in result.out.splitlines() if "gcvit eval" in line)
    assert command[-len(share) :] == share
    again = gcvit(*command[1:], "--json", "--device", "cpu")
    end = json.loads(Path("run/log.jsonl").read_text().splitlines()[-1])
    assert json.loads(again.out)["miou"] == pytest.approx(end["miou"], abs=1e-9)


def test_flags_win_over_the_file_over_the_recipe(gcvit: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[SegmentConfig] = []

    def train(config: SegmentConfig, out: Path | None, *, name: str, resume: str) -> None:
        used.append(config)
        raise ValueError(f"{name} would train into {out}, resume {resume}")

    monkeypatch.setattr(train_segment, "train", train)
    Path("mine.toml").write_text("steps = 2000\nseed = 5\n[head]\nnorm = 'group'\n")
    words = ["ade20k_tiny", "--config", "mine.toml", "--steps", "3000", "--data", "ADE", "--lr", "1e-4"]
    assert "ade20k_tiny would train into None, resume auto" in gcvit("train", "segment", *words).err
    recipe = SEGMENT["ade20k_tiny"]()
    assert used == [
        replace(
            recipe,
            data="ADE",
            steps=3000,  # flag over file
            seed=5,  # file over recipe
            head=replace(recipe.head, norm="group"),
            optim=replace(recipe.optim, lr=1e-4),
        )
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ade20k_tiny"], "ade20k_tiny needs your pictures: add --data PATH"),
        (["ade20k_tinny"], "did you mean ade20k_tiny?"),
        (["--data", "nowhere"], "nowhere"),
        (["--steps", "0"], "steps must be at least 1"),
        (["--batch-size", "1"], "batch norm needs at least 2 images"),
        (["--crop", "8", "8"], "crop must be at least 32"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(gcvit: Command, words: list[str], message: str) -> None:
    result = gcvit("train", "segment", *words)
    assert result.code == 2
    assert message in result.message
    assert not Path("gcvit-runs").exists()


def test_the_list_shows_every_recipe(gcvit: Command) -> None:
    listed = gcvit("train", "segment", "--list").out
    assert all(name in listed for name in SEGMENT)
    assert "gcvit train segment ade20k_small --help" in listed
