"""`gcvit eval`: the table, the JSON object and the files, that they agree with each other and with the run."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gcvit.data.drawing import CLASSES
from gcvit.data.scenes import SCENE_CLASSES
from gcvit.factory import create_model
from gcvit.metrics import wilson
from gcvit.opening import open as open_model
from gcvit.tasks.evaluate import evaluate
from gcvit.weights.hub import save_hub
from gcvit.weights.preprocessing import Preprocessing

from .conftest import Command, Example

CPU = ["--device", "cpu"]


@pytest.fixture
def scenes(segment_scenes: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    shutil.copytree(segment_scenes, tmp_path / "scenes")
    return tmp_path / "scenes"


def test_it_measures_what_the_run_measured(gcvit: Command, example: Example) -> None:
    result = gcvit("eval", example.run / "best", "--json", *CPU)
    assert result.code == 0, result.err
    found = json.loads(result.out)
    *_, end = (json.loads(line) for line in (example.run / "log.jsonl").read_text().splitlines())
    assert end["event"] == "end"
    assert found[example.score] == pytest.approx(end[example.score], abs=1e-9)
    assert found["images"] == json.loads((example.run / "train.json").read_text())["val_images"]
    assert (found["task"], found["model"]) == (example.task, "gcvit_pico")
    assert sum(found["per_class"].values()) / len(found["per_class"]) == pytest.approx(found[example.score])


def test_the_table_fits_80_columns(gcvit: Command, example: Example) -> None:
    result = gcvit("eval", example.run, "--data", example.data, *CPU)
    assert result.code == 0, result.err
    shown, following = result.out.split("Next:")
    assert all(len(line) <= 80 for line in shown.splitlines() if str(example.data) not in line)
    words = ["speed", "images evaluated, loading included", "crescent", "loss", f"images of {example.data}"]
    for word in [*words, *(["top-1"] if example.task == "classify" else ["mIoU", "boundary IoU"])]:
        assert word in shown
    assert f"gcvit predict {example.run} photo.jpg" in following


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--batch-size", "0"], "at least 1"),
        (["--images", "0"], "at least 1"),
        (["--seed", "-1"], "at least 0"),
        (["--workers", "-1"], "at least 0"),
        (["--device", "tpu"], "tpu"),
        (["--dat", "x"], "--data"),
        (["--bad-images", "drop"], "skip"),
        (["--data", "nowhere"], "nowhere: no such folder"),
        (["--val-fraction", "1.5"], "--val-fraction must be above 0"),
        (["./nowhere"], "nowhere"),
        (["--out", "file"], "file is a file"),
        (["--out", "/proc/nothing"], "/proc/nothing: no results can be written there"),
        (["--out", "run"], "training run's folder"),
        (["--json", "run"], "run"),
    ],
)
def test_a_mistake_in_the_flags(gcvit: Command, example: Example, flags: list[str], said: str) -> None:
    Path("file").touch()
    Path("run").mkdir()
    Path("run/train.json").touch()
    result = gcvit("eval", example.run, *flags)
    assert result.code == 2
    assert said in result.message
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("model", "flags", "said"),
    [
        ("run_folder", ["--size", "31"], "from 32 to"),
        (
            "run_folder",
            ["--size", "64", "31"],
            "size must be a side in pixels or HEIGHTxWIDTH",
        ),
        ("run_folder", ["--tta", "crop"], "flip"),
        ("segment_model", ["--size", "64"], "sees pictures at their own size"),
        ("segment_model", ["--scales", "0"], "above 0"),
        ("segment_model", ["--mode", "window"], "slide"),
        ("segment_model", ["--tta", "flip"], "--tta"),
    ],
)
def test_a_mistake_in_a_tasks_flags(
    gcvit: Command, model: str, flags: list[str], said: str, request: pytest.FixtureRequest
) -> None:
    result = gcvit("eval", request.getfixturevalue(model), *flags)
    assert result.code == 2
    assert said in result.message


def test_models_are_named_first_and_are_of_one_task(gcvit: Command, run_folder: Path, segment_model: Path) -> None:
    assert "name at least one model" in gcvit("eval").message
    result = gcvit("eval", run_folder, segment_model)
    assert result.code == 2
    assert "for the task classify and" in result.message
    assert "measure them one by one" in result.message


def test_help_shows_the_flags_of_every_task_and_of_a_model_its_own(gcvit: Command, run_folder: Path) -> None:
    every, one = gcvit("eval", "--help"), gcvit("eval", run_folder, "--help")
    assert (every.code, one.code) == (0, 0)
    assert all(flag in every.out for flag in ("--tta", "--scales", "--flip", "--ignore-label", "--val-fraction"))
    assert "--tta" in one.out
    assert "--scales" not in one.out


def test_without_held_out_images_it_says_that_it_measures_all(gcvit: Command, run_folder: Path, folders: Path) -> None:
    command = ["eval", run_folder / "best", "--data", folders / "train", *CPU]
    whole = gcvit(*command, "--val-fraction", "none")
    assert whole.code == 0, whole.err
    assert f"40 images of {folders / 'train'}: all in it, also those that the model was trained on" in whole.out
    part = gcvit(*command, "--val-fraction", "0.3")
    assert "10 images of" in part.out
    assert "held out" in part.out


def test_a_train_folder_alone_needs_a_share(gcvit: Command, run_folder: Path, folders: Path) -> None:
    Path("data").mkdir()
    Path("data/train").symlink_to(folders / "train")
    result = gcvit("eval", run_folder / "best", "--data", "data", *CPU)
    assert result.code == 2
    assert "data has train/ but no class folders in val/ or test/; add --val-fraction" in result.err


def test_few_images_are_cautioned_and_have_an_interval(gcvit: Command, run_folder: Path) -> None:
    result = gcvit("eval", run_folder, "--images", "20", *CPU)
    assert result.code == 0, result.err
    assert "Only 20 images: the figures are rough" in result.err
    assert "95% interval" in result.out
    found = json.loads(gcvit("eval", run_folder, "--images", "20", "--json", *CPU).out)
    assert found["top1_interval"] == list(wilson(round(20 * found["top1"]), 20))
    assert "rough" not in gcvit("eval", run_folder, "--images", "100", *CPU).err


def test_several_models_and_sizes_in_one_table(gcvit: Command, run_folder: Path) -> None:
    command = ["eval", run_folder, run_folder / "last", "--size", "64", "33", "--images", "20", *CPU]
    result = gcvit(*command)
    assert result.code == 0, result.err
    rows = [line.split() for line in result.out.splitlines() if line.startswith(str(run_folder))]
    assert [row[0] for row in rows] == [str(run_folder)] * 2 + [str(run_folder / "last")] * 2
    assert [row[2] for row in rows] == ["64×64", "33×33"] * 2
    rows = [json.loads(line) for line in gcvit(*command, "--json").out.splitlines()]
    assert [row["size"] for row in rows] == [[64, 64], [33, 33]] * 2
    assert rows[0]["top1"] == rows[2]["top1"]  # of one epoch the best is the last
    assert rows[0]["loss"] != rows[1]["loss"]


@pytest.mark.usefixtures("without_charts")
def test_several_models_in_one_table_and_a_folder_for_each(gcvit: Command, segment_model: Path) -> None:
    shutil.copytree(segment_model, "run/best")
    command = ["eval", "run", segment_model, "--images", "3", *CPU]
    result = gcvit(*command, "--out", "out")
    assert result.code == 0, result.err
    rows = [line.split() for line in result.out.splitlines() if line.startswith(("run", str(segment_model)))]
    assert [row[0] for row in rows] == ["run", str(segment_model)]
    assert rows[0][1:7] == rows[1][1:7]
    assert sorted(path.name for path in Path("out").iterdir()) == ["01-gcvit_pico", "02-gcvit_pico", "metrics.json"]
    first, second = (json.loads(line) for line in gcvit(*command, "--json").out.splitlines())
    assert first["miou"] == second["miou"]


@pytest.mark.parametrize(
    ("model", "flags", "said"),
    [("run_folder", ["--tta", "flip"], "mirror images too"), ("segment_model", ["--flip"], "mirrored too")],
)
@pytest.mark.parametrize("several", [False, True])
def test_a_table_says_that_mirror_images_were_used(
    gcvit: Command, model: str, flags: list[str], said: str, several: bool, request: pytest.FixtureRequest
) -> None:
    models = [request.getfixturevalue(model)] * (2 if several else 1)
    assert said in gcvit("eval", *models, "--images", "3", *flags, *CPU).out
    assert "mirror" not in gcvit("eval", *models, "--images", "3", *CPU).out


def test_what_is_wrong_with_the_last_model_is_said_first(
    gcvit: Command, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gcvit.tasks.evaluate.evaluate", None)  # calling it would fail
    result = gcvit("eval", example.run, "./absent.pth", *CPU)
    assert result.code == 2
    assert "absent.pth" in result.err


def test_a_classifiers_files_hold_what_was_measured(gcvit: Command, run_folder: Path) -> None:
    result = gcvit("eval", run_folder, "--images", "30", "--out", "out", "--json", *CPU)
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


def test_a_segmentation_models_files_hold_what_was_measured(
    gcvit: Command, segment_model: Path, segment_scenes: Path
) -> None:
    result = gcvit("eval", segment_model, "--data", segment_scenes, "--out", "out", "--json", *CPU)
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


def test_files_do_not_go_among_a_runs(gcvit: Command, example: Example) -> None:
    before = sorted(example.run.iterdir())
    result = gcvit("eval", example.run, "--out", example.run, *CPU)
    assert result.code == 2
    assert "is a training run's folder" in result.err
    assert sorted(example.run.iterdir()) == before


@pytest.mark.usefixtures("without_charts")
def test_bad_images_can_be_left_out(gcvit: Command, run_folder: Path, folders: Path) -> None:
    shutil.copytree(folders / "val", "data")
    Path("data/ring/0001.png").write_bytes(b"")
    command = ["eval", run_folder, "--data", "data", *CPU, "--bad-images"]
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


def test_a_scene_that_cannot_be_read(gcvit: Command, segment_model: Path, scenes: Path) -> None:
    file = scenes / "images/validation/0002.png"
    file.write_bytes(file.read_bytes()[:100])
    command = ["eval", segment_model, "--data", scenes, *CPU]
    result = gcvit(*command)
    assert result.code == 2
    assert "0002.png" in result.err
    result = gcvit(*command, "--bad-images", "skip")
    assert result.code == 0, result.err
    assert "4 images of" in result.out
    assert "left out" in result.message
    assert "0002.png" in result.err


def test_a_few_classes_have_no_top5(gcvit: Command, run_folder: Path) -> None:
    assert "top-5" in gcvit("eval", run_folder, "--images", "10", *CPU).out
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
    result = gcvit("eval", "two", "--data", "data", *CPU)
    assert result.code == 0, result.err
    assert "top-5" not in result.out
    assert json.loads(gcvit("eval", "two", "--data", "data", "--json", *CPU).out)["top5"] is None


def test_windows_scales_and_mirror_images(gcvit: Command, segment_model: Path) -> None:
    command = ["eval", segment_model, "--images", "3", "--json", *CPU]
    plain = json.loads(gcvit(*command).out)
    slid = json.loads(gcvit(*command, "--mode", "slide").out)
    assert slid["window"] == [64, 64]
    assert slid["loss"] == plain["loss"]  # the window is the picture
    more = json.loads(gcvit(*command, "--scales", "0.5", "1.0", "--flip").out)
    assert (more["scales"], more["flip"]) == ([0.5, 1.0], True)
    assert more["loss"] != plain["loss"]


def test_scenes_without_a_label(gcvit: Command, segment_model: Path, scenes: Path) -> None:
    for file in (scenes / "annotations/validation").iterdir():
        Image.fromarray(np.full((64, 64), 255, np.uint8)).save(file)
    result = gcvit("eval", segment_model, "--data", scenes, *CPU)
    assert result.code == 2
    assert "no pixel of the 5 images is labelled, all are ignored" in result.message


def test_classes_of_another_name_or_number(gcvit: Command, segment_model: Path, scenes: Path) -> None:
    command = ["eval", segment_model, "--data", scenes, "--json", *CPU]
    whole = json.loads(gcvit(*command).out)
    names = list(SCENE_CLASSES)
    (scenes / "classes.txt").write_text("\n".join([*names[:3], "dog", *names[4:]]))
    result = gcvit(*command)
    assert result.code == 2
    assert "was not trained on: 'dog'; it knows 'ground', " in result.message

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


def test_progress_is_told(segment_model: Path) -> None:
    told: list[tuple[int, int]] = []
    opened = open_model(segment_model)
    held_out = opened.task.open_held_out(opened.task.config(val_images=5), opened, share=False)
    measured = evaluate(opened, held_out, device="cpu", progress=lambda done, total: told.append((done, total)))
    assert told == [(4, 5), (5, 5)]
    assert measured.evaluation.measured == 5
