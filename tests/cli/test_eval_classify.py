"""`gcvit eval classify`: the table, the JSON object, and that they agree with the run."""

import json
from pathlib import Path

import pytest

from .conftest import Command


def test_it_measures_what_the_run_measured(gcvit: Command, run_folder: Path) -> None:
    result = gcvit("eval", "classify", run_folder / "best", "--images", "20", "--json", "--device", "cpu")
    assert result.code == 0, result.err
    found = json.loads(result.out)
    *_, end = (json.loads(line) for line in (run_folder / "log.jsonl").read_text().splitlines())
    assert end["event"] == "end"
    assert found["top1"] == end["top1"]
    assert found["images"] == 20
    assert found["model"] == "gcvit_pico"
    assert sum(found["per_class"].values()) / 10 == pytest.approx(found["top1"])


def test_the_table_fits_80_columns(gcvit: Command, run_folder: Path, folders: Path) -> None:
    result = gcvit("eval", "classify", run_folder / "best", "--data", folders, "--device", "cpu")
    assert result.code == 0, result.err
    shown, following = result.out.split("Next:")
    assert all(len(line) <= 80 for line in shown.splitlines() if str(folders) not in line)
    assert "top-1" in shown
    assert "images/s" in shown
    assert "crescent" in shown
    assert "gcvit predict" in following


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--size", "31"], "at least 32"),
        (["--batch-size", "0"], "at least 1"),
        (["--images", "0"], "at least 1"),
        (["--device", "tpu"], "tpu"),
        (["--dat", "x"], "--data"),
    ],
)
def test_a_mistake_in_the_flags(gcvit: Command, run_folder: Path, flags: list[str], said: str) -> None:
    result = gcvit("eval", "classify", run_folder / "best", *flags)
    assert result.code == 2
    assert said in result.err


def test_without_held_out_images_it_says_that_it_measures_all(gcvit: Command, run_folder: Path, folders: Path) -> None:
    command = ["eval", "classify", run_folder / "best", "--data", folders / "train", "--device", "cpu"]
    whole = gcvit(*command, "--val-fraction", "none")
    assert whole.code == 0, whole.err
    assert f"40 images of {folders / 'train'}: all in it, also those that the model was trained on" in whole.out
    part = gcvit(*command, "--val-fraction", "0.3")
    assert "10 images of" in part.out
    assert "held out" in part.out


def test_a_train_folder_alone_needs_a_share(gcvit: Command, run_folder: Path, folders: Path) -> None:
    Path("data").mkdir()
    Path("data/train").symlink_to(folders / "train")
    result = gcvit("eval", "classify", run_folder / "best", "--data", "data", "--device", "cpu")
    assert result.code == 2
    assert "data has train/ but no class folders in val/ or test/; add --val-fraction" in result.err
