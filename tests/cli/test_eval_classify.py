"""`gcvit eval classify`: the table, the JSON object, and that they agree with the run."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from gcvit.data.shapes import CLASSES
from gcvit.factory import create_model
from gcvit.metrics import wilson
from gcvit.weights.hub import save_hub
from gcvit.weights.preprocessing import Preprocessing

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
        (["--size", "64", "31"], "--size 31"),
        (["--tta", "crop"], "flip"),
        (["--bad-images", "drop"], "skip"),
        (["nowhere"], "nowhere"),
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


def test_few_images_are_cautioned_and_have_an_interval(gcvit: Command, run_folder: Path) -> None:
    result = gcvit("eval", "classify", run_folder, "--images", "20", "--device", "cpu")
    assert result.code == 0, result.err
    assert "Only 20 images: the figures are rough" in result.err
    assert "95% interval" in result.out
    found = json.loads(gcvit("eval", "classify", run_folder, "--images", "20", "--json", "--device", "cpu").out)
    assert found["top1_interval"] == list(wilson(round(20 * found["top1"]), 20))
    assert "rough" not in gcvit("eval", "classify", run_folder, "--images", "100", "--device", "cpu").err


def test_several_models_and_sizes_in_one_table(gcvit: Command, run_folder: Path) -> None:
    command = ["eval", "classify", run_folder, run_folder / "last", "--size", "64", "33", "--images", "20"]
    result = gcvit(*command, "--device", "cpu")
    assert result.code == 0, result.err
    rows = [line for line in result.out.splitlines() if line.startswith(str(run_folder))]
    assert [row.split()[1] for row in rows] == ["64×64", "33×33"] * 2
    rows = [json.loads(line) for line in gcvit(*command, "--json", "--device", "cpu").out.splitlines()]
    assert [row["size"] for row in rows] == [[64, 64], [33, 33]] * 2
    assert rows[0]["top1"] == rows[2]["top1"]  # of one epoch the best is the last
    assert rows[0]["loss"] != rows[1]["loss"]


def test_what_is_wrong_with_the_last_model_is_said_first(
    gcvit: Command, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gcvit.cli.eval_classify.evaluate_checkpoint", None)  # calling it would fail
    result = gcvit("eval", "classify", run_folder, "./absent.pth", "--device", "cpu")
    assert result.code == 2
    assert "absent.pth" in result.err


def test_the_files_hold_what_was_measured(gcvit: Command, run_folder: Path) -> None:
    result = gcvit("eval", "classify", run_folder, "--images", "30", "--out", "out", "--json", "--device", "cpu")
    assert result.code == 0, result.err
    found = json.loads(result.out)
    out = Path("out")
    assert json.loads((out / "metrics.json").read_text()) == found
    for picture in ("confusion.png", "reliability.png"):
        with Image.open(out / picture) as image:
            assert image.width > 400
    assert "<title>gcvit_pico at 64×64 px</title>" in (out / "report.html").read_text()
    with (out / "predictions.csv").open() as file:
        predictions = list(csv.DictReader(file))
    assert [row["file"] for row in predictions] == [f"built-in scene {index}" for index in range(30)]
    assert sum(int(row["right"]) for row in predictions) == round(30 * found["top1"])
    assert all((row["class"] == row["predicted"]) == (row["right"] == "1") for row in predictions)
    assert sum(float(row["loss"]) for row in predictions) / 30 == pytest.approx(found["loss"], rel=1e-4)
    with (out / "per_class.csv").open() as file:
        shares = {row["class"]: float(row["top1"]) for row in csv.DictReader(file)}
    assert shares == pytest.approx(found["per_class"], abs=1e-5)
    assert list(found["per_class"]) == list(CLASSES)


def test_files_do_not_go_among_a_runs(gcvit: Command, run_folder: Path) -> None:
    before = sorted(run_folder.iterdir())
    result = gcvit("eval", "classify", run_folder, "--out", run_folder, "--device", "cpu")
    assert result.code == 2
    assert "is a training run's folder" in result.err
    assert sorted(run_folder.iterdir()) == before


def test_bad_images_can_be_left_out(gcvit: Command, run_folder: Path, folders: Path) -> None:
    shutil.copytree(folders / "val", "data")
    Path("data/ring/0001.png").write_bytes(b"")
    command = ["eval", "classify", run_folder, "--data", "data", "--device", "cpu", "--bad-images"]
    assert gcvit(*command, "error").code == 2
    result = gcvit(*command, "skip", "--out", "out")
    assert result.code == 0, result.err
    assert "19 images of" in result.out
    assert "1 that could not be read" in result.out
    assert "left out data/ring/0001.png: the file is empty" in result.err
    with Path("out/predictions.csv").open() as file:
        rows = {row["file"]: row["class"] for row in csv.DictReader(file)}
    kept = sorted(file for file in Path("data").rglob("*.png") if file.stat().st_size)
    assert rows == {str(file): file.parent.name for file in kept}


def test_a_few_classes_have_no_top5(gcvit: Command, run_folder: Path) -> None:
    assert "top-5" in gcvit("eval", "classify", run_folder, "--images", "10", "--device", "cpu").out
    save_hub(
        create_model("gcvit_pico", num_classes=2),
        "two",
        preprocessing=Preprocessing((32, 32)),
        labels=["dark", "light"],
    )
    for name, grey in (("dark", 0), ("light", 200)):
        Path("data", name).mkdir(parents=True)
        for index in range(4):
            Image.new("L", (40, 40), grey + 10 * index).save(f"data/{name}/{index}.png")
    result = gcvit("eval", "classify", "two", "--data", "data", "--device", "cpu")
    assert result.code == 0, result.err
    assert "top-5" not in result.out
    assert (
        json.loads(gcvit("eval", "classify", "two", "--data", "data", "--json", "--device", "cpu").out)["top5"] is None
    )
