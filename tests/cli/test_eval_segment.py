"""`gcvit eval segment`: the table, the JSON object and the files, that they agree, and what is refused."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gcvit.data.scenes import SCENE_CLASSES
from gcvit.tasks.segment.evaluate_checkpoint import HeldOut, evaluate_checkpoint

from .conftest import Command

CPU = ["--device", "cpu"]


@pytest.fixture
def scenes(segment_scenes: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    shutil.copytree(segment_scenes, tmp_path / "scenes")
    return tmp_path / "scenes"


def test_the_files_hold_what_was_measured(gcvit: Command, segment_model: Path, segment_scenes: Path) -> None:
    command = ["eval", "segment", segment_model, "--data", segment_scenes, "--out", "out", "--json", *CPU]
    result = gcvit(*command)
    assert result.code == 0, result.err
    found, out = json.loads(result.out), Path("out")
    assert json.loads((out / "metrics.json").read_text()) == found
    assert found["images"] == 5
    assert found["labelled_pixels"] == 5 * 64 * 64
    assert sum(found["per_class"].values()) / len(found["per_class"]) == pytest.approx(found["miou"])
    with (out / "per_class.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == list(SCENE_CLASSES)
    assert sum(int(row["pixels"]) for row in rows) == found["labelled_pixels"]
    assert {row["class"]: float(row["iou"]) for row in rows if row["iou"]} == pytest.approx(found["per_class"], 1e-5)
    with (out / "images.csv").open() as file:
        images = list(csv.DictReader(file))
    assert [Path(row["file"]).name for row in images] == [f"000{number}.png" for number in range(1, 6)]
    assert sum(float(row["loss"]) for row in images) / 5 == pytest.approx(found["loss"], rel=1e-4)
    assert "<title>UPerNet on gcvit_pico, shown whole</title>" in (out / "report.html").read_text()
    with Image.open(out / "confusion.png") as image:
        assert image.width > 400


def test_the_table_fits_80_columns(gcvit: Command, segment_model: Path) -> None:
    result = gcvit("eval", "segment", segment_model, "--images", "4", *CPU)
    assert result.code == 0, result.err
    shown, following = result.out.split("Next:")
    assert all(len(line) <= 80 for line in shown.splitlines())
    for word in ("mIoU", "boundary IoU", "4 images of the built-in scenes", "images/s", "crescent"):
        assert word in shown
    assert "gcvit predict segment" in following
    assert "Only 4 images: the figures are rough" in result.err


def test_several_models_in_one_table_and_a_folder_for_each(gcvit: Command, segment_model: Path) -> None:
    shutil.copytree(segment_model, "run/best")
    command = ["eval", "segment", "run", segment_model, "--images", "3", *CPU]
    result = gcvit(*command, "--out", "out")
    assert result.code == 0, result.err
    rows = [line.split() for line in result.out.splitlines() if line.startswith(("run", str(segment_model)))]
    assert [row[0] for row in rows] == ["run", str(segment_model)]
    assert rows[0][1:7] == rows[1][1:7]
    assert sorted(path.name for path in Path("out").iterdir()) == ["01-gcvit_pico", "02-gcvit_pico", "metrics.json"]
    first, second = (json.loads(line) for line in gcvit(*command, "--json").out.splitlines())
    assert first["miou"] == second["miou"]


def test_windows_scales_and_mirror_images(gcvit: Command, segment_model: Path) -> None:
    command = ["eval", "segment", segment_model, "--images", "3", "--json", *CPU]
    plain = json.loads(gcvit(*command).out)
    slid = json.loads(gcvit(*command, "--mode", "slide").out)
    assert slid["window"] == [64, 64]
    assert slid["loss"] == plain["loss"]  # the window is the picture
    more = json.loads(gcvit(*command, "--scales", "0.5", "1.0", "--flip").out)
    assert (more["scales"], more["flip"]) == ([0.5, 1.0], True)
    assert more["loss"] != plain["loss"]


def test_a_scene_that_cannot_be_read(gcvit: Command, segment_model: Path, scenes: Path) -> None:
    file = scenes / "images/validation/0002.png"
    file.write_bytes(file.read_bytes()[:100])
    command = ["eval", "segment", segment_model, "--data", scenes, *CPU]
    result = gcvit(*command)
    assert result.code == 2
    assert "0002.png" in result.err
    result = gcvit(*command, "--bad-images", "skip")
    assert result.code == 0, result.err
    assert "4 images of" in result.out
    assert "left out" in result.message
    assert "0002.png" in result.err


def test_scenes_without_a_label(gcvit: Command, segment_model: Path, scenes: Path) -> None:
    for file in (scenes / "annotations/validation").iterdir():
        Image.fromarray(np.full((64, 64), 255, np.uint8)).save(file)
    result = gcvit("eval", "segment", segment_model, "--data", scenes, *CPU)
    assert result.code == 2
    assert "no pixel of the 5 images is labelled, all are ignored" in result.message


def test_classes_of_another_name_or_number(gcvit: Command, segment_model: Path, scenes: Path) -> None:
    command = ["eval", "segment", segment_model, "--data", scenes, "--json", *CPU]
    whole = json.loads(gcvit(*command).out)
    names = list(SCENE_CLASSES)
    (scenes / "classes.txt").write_text("\n".join([*names[:3], "dog", *names[4:]]))
    result = gcvit(*command)
    assert result.code == 2
    assert "was not trained on, 'dog'; it knows 'ground', " in result.message

    for file in (scenes / "annotations").rglob("*.png"):  # the classes backwards
        Image.fromarray((10 - np.array(Image.open(file))).astype(np.uint8)).save(file)
    (scenes / "classes.txt").write_text("\n".join(names[::-1]))
    assert json.loads(gcvit(*command).out)["per_class"] == whole["per_class"]

    (scenes / "classes.txt").unlink()  # without names the numbers are the model's, though not all of them occur
    for file in (scenes / "annotations").rglob("*.png"):
        Image.fromarray(np.minimum(np.array(Image.open(file)), 1)).save(file)
    assert names[1] in json.loads(gcvit(*command).out)["per_class"]
    file = next((scenes / "annotations" / "training").iterdir())  # which no evaluation looks at
    file.write_bytes(file.read_bytes()[:50])
    assert gcvit(*command).code == 0
    for file in (scenes / "annotations" / "validation").iterdir():
        Image.fromarray(np.full((64, 64), 11, np.uint8)).save(file)
    result = gcvit(*command)
    assert result.code == 2
    assert "unknown values 11" in result.message


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--batch-size", "0"], "at least 1"),
        (["--images", "0"], "at least 1"),
        (["--scales", "0"], "above 0"),
        (["--device", "tpu"], "tpu"),
        (["--mode", "window"], "slide"),
        (["--bad-images", "drop"], "skip"),
        (["--data", "nowhere"], "nowhere: no such folder"),
        (["./nowhere"], "nowhere"),
        (["--out", "file"], "file is a file"),
        (["--out", "run"], "training run's folder"),
    ],
)
def test_a_mistake_in_the_flags(gcvit: Command, segment_model: Path, flags: list[str], said: str) -> None:
    Path("file").touch()
    Path("run").mkdir()
    Path("run/train.json").touch()
    result = gcvit("eval", "segment", segment_model, *flags)
    assert result.code == 2
    assert said in result.message
    assert "Traceback" not in result.err


def test_a_model_must_be_named_and_be_one_for_segmentation(gcvit: Command, run_folder: Path) -> None:
    assert "name at least one model" in gcvit("eval", "segment").message
    result = gcvit("eval", "segment", run_folder)
    assert result.code == 2
    assert "not a segmentation model" in result.message


def test_what_is_wrong_with_the_last_model_is_said_first(
    gcvit: Command, segment_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gcvit.cli.eval_segment.evaluate_checkpoint", None)  # calling it would fail
    result = gcvit("eval", "segment", segment_model, "./absent", *CPU)
    assert result.code == 2
    assert "absent" in result.err


def test_progress_is_told(segment_model: Path) -> None:
    told: list[tuple[int, int]] = []
    measured = evaluate_checkpoint(
        str(segment_model), HeldOut(images=5), device="cpu", progress=lambda done, total: told.append((done, total))
    )
    assert told == [(4, 5), (5, 5)]
    assert measured.images == 5
