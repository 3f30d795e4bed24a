"""`gcvit predict`: lines, JSON and files, damaged images among good ones, mistakes in the call."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gcvit.data.images import load_picture
from gcvit.data.label_maps import LabelMapping, load_labels
from gcvit.data.scenes import SCENE_CLASSES
from gcvit.data.segment_transforms import EvalScene
from gcvit.factory import create_model
from gcvit.opening import open as open_model
from gcvit.tasks.classify import CLASSIFY
from gcvit.tasks.classify.answer import Classification, Guess
from gcvit.tasks.classify.names import class_names
from gcvit.tasks.opened import Opened
from gcvit.weights.catalogue import CATALOGUE
from gcvit.weights.hub import save_hub
from gcvit.weights.preprocessing import Preprocessing
from tasks.segmenters import segment_logits

from .conftest import Command, Example, Outcome
from .predicted import picture, results, three

CPU = ["--device", "cpu"]


@pytest.fixture
def pictures(folders: Path, tmp_path: Path) -> Path:
    """Twenty pictures of which one is cut off and one is empty."""
    root = tmp_path / "pictures"
    shutil.copytree(folders / "val", root)
    (root / "heart" / "0001.png").write_bytes((root / "heart" / "0001.png").read_bytes()[:200])
    (root / "star" / "0002.png").write_bytes(b"")
    return root


def predictions(result: Outcome) -> dict[str, list[dict]]:
    return {row["file"]: row["predictions"] for row in result.rows if "error" not in row}


def test_a_models_weights_are_what_the_folder_says(gcvit: Command, best: Path, folders: Path) -> None:
    """Its classes and how it sees are in config.json beside them; flags may come before the model."""
    file = folders / "val" / "ring" / "0001.png"
    for words in ([best / "model.safetensors", file, *CPU], [*CPU, best, file]):
        found = gcvit("predict", *words, "--json")
        assert found.code == 0, found.err
        assert predictions(found) == predictions(gcvit("predict", best, file, "--json", *CPU))


@pytest.mark.parametrize("flag", ["--mode=slide", "--tiles", "--min-score"])
def test_flags_of_other_tasks_are_told(gcvit: Command, best: Path, folders: Path, flag: str) -> None:
    words = [flag, *(["0.5"] if flag == "--min-score" else ["64"] if flag == "--tiles" else [])]
    found = gcvit("predict", best, folders / "val" / "ring" / "0001.png", *CPU, *words)
    assert found.code == 2
    assert f"{flag.partition('=')[0]} is for what" in found.err
    assert "and this names what is in images" in found.err


def test_json_says_what_a_classifier_says(gcvit: Command, best: Path, folders: Path) -> None:
    file = folders / "val" / "ring" / "0001.png"
    result = gcvit("predict", best, file, "--json", *CPU)
    assert result.code == 0, result.err
    opened = open_model(best)
    mean, std = torch.tensor(opened.preprocessing.mean), torch.tensor(opened.preprocessing.std)
    pixels = torch.from_numpy(np.array(load_picture(file))) / 255
    with torch.inference_mode():
        logits = opened.model(((pixels - mean) / std).permute(2, 0, 1)[None])[0]
    shares, order = logits.softmax(0).sort(descending=True)
    (found,) = predictions(result).values()
    assert [row["index"] for row in found] == order[:5].tolist()
    assert [row["probability"] for row in found] == pytest.approx(shares[:5].tolist(), abs=1e-5)
    assert opened.classes is not None
    assert [row["label"] for row in found] == [opened.classes[index] for index in order[:5].tolist()]


def test_labels_shares_and_colours_are_what_a_segmentation_model_says(gcvit: Command, segment_model: Path) -> None:
    file = picture("a.png", 90, 70)
    result = gcvit("predict", segment_model, file, "--out", "out", "--json", *CPU)
    assert result.code == 0, result.err
    opened = open_model(segment_model)
    shown = EvalScene(None, opened.preprocessing.mean, opened.preprocessing.std)(load_picture(file))
    with torch.inference_mode():
        expected = segment_logits(opened.model, shown[None], (70, 90)).argmax(1)[0].numpy()
    labels = load_labels("out/a.labels.png", LabelMapping(len(SCENE_CLASSES)))
    assert (labels == expected).mean() > 0.999
    with Image.open("out/a.labels.png") as image:
        assert image.getpalette()[:33] == [part for colour in opened.palette or [] for part in colour]
    (told,) = result.rows
    assert json.loads(Path("out/a.json").read_text()) == told
    assert told["size"] == [70, 90]
    assert told["shares"] == {
        name: pytest.approx((labels == label).mean(), abs=1e-6)
        for label, name in enumerate(SCENE_CLASSES)
        if (labels == label).any()
    }
    assert list(told["shares"].values()) == sorted(told["shares"].values(), reverse=True)
    with Image.open(told["overlay"]) as image:
        assert image.width > 640


def test_batches_change_nothing_and_keep_the_order(gcvit: Command, best: Path, folders: Path) -> None:
    one = predictions(gcvit("predict", best, folders / "val", "--json", *CPU))
    two = predictions(gcvit("predict", best, folders / "val", "--json", "--batch-size", "3", *CPU))
    assert list(one) == list(two) == [str(file) for file in sorted((folders / "val").rglob("*.png"))]
    for file in one:
        assert [row["index"] for row in one[file]] == [row["index"] for row in two[file]]
        assert one[file][0]["probability"] == pytest.approx(two[file][0]["probability"], abs=1e-5)


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_damaged_images_are_reported_and_listed_and_the_others_predicted(
    gcvit: Command, model: Path, pictures: Path, batch_size: int
) -> None:
    words = ["predict", model, pictures, "--out", "out", "--json", "--batch-size", batch_size, *CPU]
    result = gcvit(*words)
    assert result.code == 1
    said = {row["file"]: row.get("error") for row in result.rows}
    assert list(said) == [str(file) for file in sorted(pictures.rglob("*.png"))]
    bad = {file: error for file, error in said.items() if error is not None}
    assert list(bad) == [str(pictures / name) for name in ("heart/0001.png", "star/0002.png")]
    assert bad[str(pictures / "star/0002.png")] == f"cannot read image {pictures / 'star/0002.png'}: the file is empty"
    assert all(error in result.err for error in bad.values() if error)
    assert "2 of 20 images could not be read" in result.err
    assert "Traceback" not in result.err
    assert {Path(name).parts[:2] for name in results("out")} >= {("ring", "0001.json"), ("heart", "0002.json")}
    assert not Path("out/heart/0001.json").exists()


def test_nothing_but_unreadable_images(gcvit: Command, model: Path) -> None:
    Path("note.jpg").write_text("not an image")
    result = gcvit("predict", model, "note.jpg", "--json", *CPU)
    assert result.code == 1
    assert [row["file"] for row in result.rows] == ["note.jpg"]
    assert "note.jpg" in result.rows[0]["error"]
    assert "note.jpg" in result.err


def test_a_classifiers_lines(gcvit: Command, best: Path, folders: Path) -> None:
    result = gcvit("predict", best, folders / "val" / "ring", "--top-k", "3", *CPU)
    assert result.code == 0, result.err
    first, second, *_ = result.out.splitlines()
    assert first.startswith(str(folders / "val" / "ring" / "0001.png"))
    assert second.startswith(str(folders / "val" / "ring" / "0002.png"))
    assert first.count("%") == 3
    assert "Next:" in result.out
    assert not Path("predicted").exists()  # unless it is asked to, a classifier saves nothing


def test_a_segmentation_models_lines(gcvit: Command, segment_model: Path) -> None:
    picture("photos/a.png")
    result = gcvit("predict", segment_model, "photos", "--overlay", "jpg", *CPU)
    assert result.code == 0, result.err
    first, *_ = result.out.splitlines()
    assert first.startswith("photos/a.png  ")
    assert "%" in first
    assert "results: predicted" in result.out
    assert results("predicted") == three("a", kind="jpg")
    with Image.open("predicted/a.overlay.jpg") as image:
        assert image.format == "JPEG"


def test_published_weights_name_imagenets_classes_and_unknown_ones_are_numbers(
    gcvit: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = create_model("gcvit_pico")
    torch.nn.init.zeros_(model.head.weight)
    model.head.bias.data = torch.arange(1000.0)
    Image.new("RGB", (64, 64)).save("a.png")
    for entry, expected in (
        (
            CATALOGUE["gcvit_xxtiny.nvlabs"],
            {"label": "n15075141", "description": "toilet tissue, toilet paper, bathroom tissue"},
        ),
        (None, {"label": "999"}),
    ):
        opened = Opened(CLASSIFY, model, "gcvit_pico", Preprocessing((64, 64)), class_names(None, 1000, entry))
        monkeypatch.setattr("gcvit.opening.open", lambda source, opened=opened, **_: opened)
        result = gcvit("predict", "gcvit_xxtiny", "a.png", "--json", *CPU)
        assert result.code == 0, result.err
        (found,) = predictions(result).values()
        assert {name: found[0][name] for name in expected} == expected


@pytest.mark.parametrize(
    ("task", "flags"),
    [
        ("classify", ["--size", "50"]),
        ("segment", []),
        ("segment", ["--mode", "slide"]),
        ("segment", ["--scales", "0.5", "1.5", "--flip"]),
    ],
)
def test_any_kind_and_size_of_image(
    gcvit: Command, task: str, flags: list[str], request: pytest.FixtureRequest
) -> None:
    Image.new("L", (1, 1), 7).save("dot.png")
    Image.new("RGBA", (300, 1), (9, 9, 9, 0)).save("line.png")
    Image.new("CMYK", (33, 90)).save("print.jpg")
    model = request.getfixturevalue("run_folder" if task == "classify" else "segment_model")
    result = gcvit("predict", model, "dot.png", "line.png", "print.jpg", "--out", "out", "--json", *flags, *CPU)
    assert result.code == 0, result.err
    assert [row["file"] for row in result.rows] == ["dot.png", "line.png", "print.jpg"]
    if task == "segment":
        assert [row["size"] for row in result.rows] == [[1, 1], [1, 300], [90, 33]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["absent.jpg"], "absent.jpg"),
        (["none"], "error: none"),  # a file's name, not "no value"
        (["empty"], "no images"),
        (["picture.png", "--size", "31"], "32"),
        (["picture.png", "--batch-size", "0"], "--batch-size must be at least 1, not 0"),
        (["picture.png", "--device", "cuda:99"], "cuda:99"),
        ([], "at least one image"),
        (["https://a.org/b.jpg"], "download the image"),
        (["photos.tar"], "unpack it"),
        (["photos.tar/a/b.jpg"], "photos.tar is an archive"),
        (["picture.png", "--out", "file"], "file is a file"),
        (["picture.png", "--out", "file/under"], "file is a file"),
        (["picture.png", "--out", "/proc/nothing"], "/proc/nothing: no results can be written there"),
    ],
)
def test_a_mistake_in_the_call(gcvit: Command, model: Path, words: list[str], said: str) -> None:
    Path("empty").mkdir()
    Path("file").touch()
    Path("photos.tar").write_bytes(b"anything")
    picture("picture.png")
    result = gcvit("predict", model, *words, *([] if "--out" in words else ["--out", "out"]))
    assert result.code == 2
    assert said in result.message
    assert "Traceback" not in result.err
    assert result.out == ""
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("task", "words", "said"),
    [
        ("classify", ["--top-k", "0"], "--top-k"),
        ("classify", ["--topk", "3"], "--top-k"),
        ("classify", ["--overlay", "png"], "--overlay"),
        ("segment", ["--scales", "-1"], "above 0"),
        ("segment", ["--overlay", "gif"], "gif"),
        ("segment", ["--top-k", "3"], "--top-k"),
    ],
)
def test_a_mistake_in_a_tasks_flags(
    gcvit: Command, task: str, words: list[str], said: str, request: pytest.FixtureRequest
) -> None:
    picture("picture.png")
    model = request.getfixturevalue("run_folder" if task == "classify" else "segment_model")
    result = gcvit("predict", model, "picture.png", *words)
    assert result.code == 2
    assert said in result.message
    assert result.out == ""
    assert not Path("predicted").exists()


def test_a_model_must_be_named_first_and_be_there(gcvit: Command) -> None:
    picture("picture.png")
    for words in ([], ["--json"]):
        result = gcvit("predict", *words)
        assert result.code == 2
        assert "MODEL" in result.message
    result = gcvit("predict", "./nowhere", "picture.png")
    assert result.code == 2
    assert "nowhere" in result.message


def test_help_shows_the_flags_of_every_task_and_of_a_model_its_own(gcvit: Command, run_folder: Path) -> None:
    every, one = gcvit("predict", "--help"), gcvit("predict", run_folder, "--help")
    assert (every.code, one.code) == (0, 0)
    assert all(flag in every.out for flag in ("--tta", "--top-k", "--scales", "--overlay", "--out"))
    assert "--top-k" in one.out
    assert "--overlay" not in one.out


def test_a_model_without_classes_is_refused(gcvit: Command) -> None:
    picture("picture.png")
    save_hub(create_model("gcvit_pico", num_classes=0), "features", preprocessing=Preprocessing(size=(64, 64)))
    result = gcvit("predict", "features", "picture.png", *CPU)
    assert result.code == 2
    assert "features has no classes" in result.err
    assert result.out == ""


def test_a_runs_folder_is_its_best(gcvit: Command, example: Example) -> None:
    picture("a.png")
    one, two = (gcvit("predict", source, "a.png", "--json", *CPU) for source in (example.run / "best", example.run))
    assert one.code == 0, one.err
    assert one.out == two.out


def test_flip_does_not_tell_an_image_from_its_mirror_image(gcvit: Command, best: Path, folders: Path) -> None:
    image = load_picture(folders / "val" / "crescent" / "0001.png")
    image.save("a.png")
    image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save("b.png")
    command = ["predict", best, "a.png", "b.png", "--json", "--top-k", "10", *CPU]
    for flags, same in (([], False), (["--tta", "flip"], True)):
        found = predictions(gcvit(*command, *flags)).values()
        shares = [{row["label"]: row["probability"] for row in guesses} for guesses in found]
        assert (shares[0] == pytest.approx(shares[1], abs=2e-6)) == same


def test_imagenets_folder_names_are_explained() -> None:
    guesses = (Guess("n01443537", 1, 0.9123456789), Guess("ring", 2, 0.08), Guess("disc", 3, 0.00049))
    answer = Classification(Path("a.jpg"), guesses)
    assert answer.line().split("  ") == ["goldfish (n01443537)", "91.2%", "ring 8.0%"]  # no next best of 0.0%
    first, second, third = answer.to_dict()["predictions"]
    assert first == {
        "label": "n01443537", "description": "goldfish, Carassius auratus", "index": 1, "probability": 0.912346,
    }  # fmt: skip
    assert second == {"label": "ring", "index": 2, "probability": 0.08}
    assert third["probability"] == 0.00049
