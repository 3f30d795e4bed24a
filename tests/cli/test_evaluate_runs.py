"""`gcvit eval RUN` on the run's own data, wherever they are, and on others: what is measured, and that images which a
model was trained on are never scored without a word."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .conftest import SHORT_RUNS, Command, Example, Outcome

pytestmark = pytest.mark.usefixtures("without_report")
CPU = ["--device", "cpu"]
SHARE = ["--val-fraction", "0.3", "--seed", "4"]
SEEN = "images are among those that"


def divided(data: Path, task: str, to: str) -> Path:
    """A copy of the training part alone, for training to divide."""
    if task == "classify":
        shutil.copytree(data / "train", to)
        return Path(to)
    for kind in ("images", "annotations"):
        shutil.copytree(data / kind / "validation", Path(to) / kind)  # which has more pictures
    shutil.copy(data / "classes.txt", to)
    return Path(to)


def train(gcvit: Command, task: str, data: Path, *flags: object, out: str = "mine") -> dict:
    """Train, and return the last event of the log."""
    result = gcvit("train", task, "--data", data, "--out", out, *SHORT_RUNS[task], *flags)
    assert result.code == 0, result.err
    return json.loads(Path(out, "log.jsonl").read_text().splitlines()[-1])


Runs = Callable[[str, Path], tuple[Path, dict]]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what is trained once."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def trained(gcvit: Command, kept: Path) -> Runs:
    """Data of a task, divided in training, and what was trained on them, `data` and `mine` in the current folder:
    copies of what is trained once; with the last event of the log."""

    def copied(task: str, data: Path) -> tuple[Path, dict]:
        if not (kept / task).exists():
            train(gcvit, task, divided(data, task, "data"), *SHARE)
            for name in ("data", "mine"):
                shutil.copytree(name, kept / task / name)
        else:
            for name in ("data", "mine"):
                shutil.copytree(kept / task / name, name)
        return Path("data"), json.loads(Path("mine/log.jsonl").read_text().splitlines()[-1])

    return copied


def figures(result: Outcome) -> dict:
    assert result.code == 0, result.err
    return json.loads(result.out)


def test_of_divided_data_what_was_held_out_wherever_they_are(gcvit: Command, trained: Runs, example: Example) -> None:
    data, end = trained(example.task, example.data)
    count = 10 if example.task == "classify" else 2
    for model in ("mine/best", "mine"):
        found = figures(gcvit("eval", model, "--json", *CPU))
        assert (found["source"], found["images"]) == (model, count)
        assert found[example.score] == pytest.approx(end[example.score], abs=1e-9)
        assert found["data"] == "data: what training with val_fraction 0.3 and seed 4 held out"

    data.rename("elsewhere")
    gone = gcvit("eval", "mine")
    assert gone.code == 2
    assert "data, the data of mine, is not there; give its new place as --data" in gone.message
    moved = gcvit("eval", "mine", "--data", "elsewhere", "--json", *CPU)
    assert SEEN not in moved.err
    there = {"data": "elsewhere: what training with val_fraction 0.3 and seed 4 held out"}
    assert figures(moved) == found | there | {"images_per_second": figures(moved)["images_per_second"]}


def test_flags_win_and_learned_images_are_counted(gcvit: Command, trained: Runs, example: Example) -> None:
    trained(example.task, example.data)
    total, held_out = (40, 10) if example.task == "classify" else (5, 2)
    every = gcvit("eval", "mine", "--val-fraction", "none", "--json", *CPU)
    said = f"{total - held_out} of these {total} {SEEN} mine/best was trained on"
    assert figures(every)["images"] == total
    assert figures(every)["data"].endswith(said)
    assert said in every.message
    assert said in gcvit("eval", "mine", "--val-fraction", "none", *CPU).out
    for flags in (["--val-fraction", "0.6"], ["--seed", "5"]):
        result = gcvit("eval", "mine", *flags, "--json", *CPU)
        assert SEEN in result.err
        assert SEEN in figures(result)["data"]
    same = gcvit("eval", "mine", *SHARE, "--json", *CPU)
    assert figures(same)["images"] == held_out
    assert SEEN not in same.err


def test_data_with_a_validation_part_and_another_data_set(gcvit: Command, example: Example) -> None:
    train(gcvit, example.task, example.data)
    result = gcvit("eval", "mine", "--json", *CPU)
    assert SEEN not in result.err
    assert figures(result)["data"] == str(example.data / example.held_out)
    other = divided(example.data, example.task, "other")
    words = figures(gcvit("eval", "mine", "--data", other, "--json", *CPU))["data"]
    assert words.startswith("other: all in it, also those")


def test_parts_of_a_runs_data_under_another_name_are_counted(gcvit: Command, folders: Path) -> None:
    train(gcvit, "classify", folders)
    Path("link").symlink_to(folders)
    for data in (os.path.relpath(folders / "train"), "link/train"):
        result = gcvit("eval", "mine", "--data", data, "--json", *CPU)
        assert f"40 of these 40 {SEEN} mine/best was trained on" in result.message
    train(gcvit, "classify", folders / "val", "--batch-size", "10", out="other")  # which is divided
    result = gcvit("eval", "other", "--data", "link", "--json", *CPU)
    assert f"10 of these 20 {SEEN} other/best was trained on" in result.message
    assert SEEN not in gcvit("eval", "mine", "--data", "link", "--json", *CPU).err


def test_of_several_runs_the_first_says_what_is_measured_and_each_what_it_learned(
    gcvit: Command, example: Example
) -> None:
    data = divided(example.data, example.task, "data")
    train(gcvit, example.task, data, *SHARE, out="one")
    train(gcvit, example.task, data, "--val-fraction", "0.3", "--seed", "5", out="other")
    shutil.copytree("one/best", "alone")
    result = gcvit("eval", "alone", "one", "other", "--json", *CPU)
    rows = [json.loads(line) for line in result.out.splitlines()]
    assert [row["source"] for row in rows] == ["alone", "one", "other"]
    assert all(row["data"].startswith("data: what training with val_fraction 0.3 and seed 4 held out") for row in rows)
    assert [SEEN in row["data"] for row in rows] == [False, False, True]
    assert f"{SEEN} other/best was trained on" in result.message


def test_data_that_changed_since(gcvit: Command, trained: Runs, folders: Path) -> None:
    data, _ = trained("classify", folders)
    shutil.copy(data / "ring/0001.png", data / "ring/0009.png")
    result = gcvit("eval", "mine", *CPU)
    assert result.code == 0, result.err
    assert "data holds other images than when mine was trained, so it is not known which" in result.message
    assert SEEN not in result.err
    assert "41 images of data: all in it, also those that the model was trained on" in result.out


def test_without_its_checkpoints_a_run_still_knows_its_data(gcvit: Command, trained: Runs, folders: Path) -> None:
    _, end = trained("classify", folders)
    shutil.rmtree("mine/checkpoints")
    assert figures(gcvit("eval", "mine", "--json", *CPU))["top1"] == end["top1"]


def test_a_configuration_that_cannot_be_read(gcvit: Command, run_folder: Path, folders: Path) -> None:
    shutil.copytree(run_folder / "best", "run/best")
    Path("run/train.json").write_text("{")
    result = gcvit("eval", "run", *CPU)
    assert result.code == 2
    assert "run/train.json: not valid JSON" in result.message
    assert "to measure the model all the same, give --data PATH" in result.message
    result = gcvit("eval", "run", "--data", folders, *CPU)
    assert result.code == 0, result.err
    assert "the run's settings, and what it was trained on, are not known" in result.message


def test_an_unusual_ignore_label_and_names_in_another_file_are_the_runs(gcvit: Command, segment_scenes: Path) -> None:
    shutil.copytree(segment_scenes, "data")
    Path("data/classes.txt").rename("names.txt")
    for file in Path("data/annotations").rglob("*.png"):
        labels = np.array(Image.open(file))
        labels[:8] = 99
        Image.fromarray(labels).save(file)
    reading = ["--ignore-label", "99", "--classes-file", "names.txt"]
    end = train(gcvit, "segment", Path("data"), *reading)
    found = figures(gcvit("eval", "mine", "--json", *CPU))
    assert found["miou"] == pytest.approx(end["miou"], abs=1e-9)
    assert found["labelled_pixels"] == 5 * 56 * 64
    wrong = gcvit("eval", "mine", "--ignore-label", "255", *CPU)
    assert wrong.code == 2
    assert "unknown values 99" in wrong.message


def test_how_the_run_evaluated_is_how_it_is_measured(gcvit: Command, segment_scenes: Path, folders: Path) -> None:
    end = train(gcvit, "segment", segment_scenes, "--eval-mode", "slide")
    found = figures(gcvit("eval", "mine", "--json", *CPU))
    assert (found["mode"], found["window"]) == ("slide", [48, 48])
    assert found["miou"] == pytest.approx(end["miou"], abs=1e-9)
    assert figures(gcvit("eval", "mine", "--json", "--mode", "whole", *CPU))["mode"] == "whole"
    shutil.copytree(folders, "data")
    Path("data/val/ring/0001.png").write_bytes(b"")
    end = train(gcvit, "classify", Path("data"), "--bad-images", "skip", out="other")
    found = figures(gcvit("eval", "other", "--json", *CPU))
    assert (found["images"], found["top1"]) == (19, end["top1"])
    assert gcvit("eval", "other", "--bad-images", "error", *CPU).code == 2
