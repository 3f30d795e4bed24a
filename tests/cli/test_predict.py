"""`gcvit predict`: table and JSON, folders, damaged images among good ones."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gcvit.cli.predict import Lines, Prediction, as_json
from gcvit.data.images import load_image
from gcvit.factory import OpenedModel, create_model, open_model
from gcvit.weights.catalogue import CATALOGUE
from gcvit.weights.hub import save_hub
from gcvit.weights.preprocessing import Preprocessing

from .conftest import Command


@pytest.fixture
def best(run_folder: Path) -> Path:
    return run_folder / "best"


@pytest.fixture
def pictures(folders: Path, tmp_path: Path) -> Path:
    """Twenty pictures of which one is cut off and one is empty."""
    root = tmp_path / "pictures"
    shutil.copytree(folders / "val", root)
    (root / "heart" / "0001.png").write_bytes((root / "heart" / "0001.png").read_bytes()[:200])
    (root / "star" / "0002.png").write_bytes(b"")
    return root


def predictions(out: str) -> dict[str, list[dict]]:
    rows = [json.loads(line) for line in out.splitlines()]
    return {row["file"]: row["predictions"] for row in rows}


def test_json_says_what_the_model_says(gcvit: Command, best: Path, folders: Path) -> None:
    file = folders / "val" / "ring" / "0001.png"
    result = gcvit("predict", best, file, "--json", "--device", "cpu")
    assert result.code == 0, result.err
    opened = open_model(best)
    mean, std = torch.tensor(opened.preprocessing.mean), torch.tensor(opened.preprocessing.std)
    pixels = torch.from_numpy(np.array(load_image(file))) / 255
    with torch.inference_mode():
        logits = opened.model(((pixels - mean) / std).permute(2, 0, 1)[None])[0]
    shares, order = logits.softmax(0).sort(descending=True)
    (found,) = predictions(result.out).values()
    assert [row["index"] for row in found] == order[:5].tolist()
    assert [row["probability"] for row in found] == pytest.approx(shares[:5].tolist(), abs=1e-5)
    assert opened.labels is not None
    assert [row["label"] for row in found] == [opened.labels[index] for index in order[:5].tolist()]


def test_batches_change_nothing_and_keep_the_order(gcvit: Command, best: Path, folders: Path) -> None:
    whole = gcvit("predict", best, folders / "val", "--json", "--device", "cpu")
    parts = gcvit("predict", best, folders / "val", "--json", "--batch-size", "3", "--device", "cpu")
    one, two = predictions(whole.out), predictions(parts.out)
    assert list(one) == list(two) == [str(file) for file in sorted((folders / "val").rglob("*.png"))]
    for file in one:
        assert [row["index"] for row in one[file]] == [row["index"] for row in two[file]]
        assert one[file][0]["probability"] == pytest.approx(two[file][0]["probability"], abs=1e-5)


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_damaged_images_are_reported_and_the_others_predicted(
    gcvit: Command, best: Path, pictures: Path, batch_size: int
) -> None:
    result = gcvit("predict", best, pictures, "--json", "--batch-size", batch_size, "--device", "cpu")
    assert result.code == 1
    assert len(predictions(result.out)) == 18
    assert "heart/0001.png" in result.err
    assert "star/0002.png" in result.err
    assert "2 of 20 images could not be read" in result.err
    assert "Traceback" not in result.err


def test_the_table(gcvit: Command, best: Path, folders: Path) -> None:
    result = gcvit("predict", "classify", best, folders / "val" / "ring", "--top-k", "3", "--device", "cpu")
    assert result.code == 0, result.err
    heading, first, second, *_ = result.out.splitlines()
    assert heading.split() == ["file", "label", "prob.", "next", "best"]
    assert first.startswith(str(folders / "val" / "ring" / "0001.png"))
    assert second.startswith(str(folders / "val" / "ring" / "0002.png"))
    assert first.count("%") == 3
    assert "Next:" in result.out


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
        opened = OpenedModel(model, "gcvit_pico", Preprocessing((64, 64)), None, "", entry)
        monkeypatch.setattr("gcvit.cli.predict.open_model", lambda source, opened=opened: opened)
        result = gcvit("predict", "published", "a.png", "--json", "--device", "cpu")
        assert result.code == 0, result.err
        (found,) = predictions(result.out).values()
        assert {name: found[0][name] for name in expected} == expected


def test_any_kind_and_size_of_image(gcvit: Command, best: Path) -> None:
    Image.new("L", (1, 1), 7).save("dot.png")
    Image.new("RGBA", (300, 40), (9, 9, 9, 0)).save("glass.png")
    Image.new("CMYK", (33, 90)).save("print.jpg")
    result = gcvit("predict", best, "dot.png", "glass.png", "print.jpg", "--json", "--size", "50", "--device", "cpu")
    assert result.code == 0, result.err
    assert list(predictions(result.out)) == ["dot.png", "glass.png", "print.jpg"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["absent.jpg"], "absent.jpg"),
        (["none"], "error: none"),  # a file's name, not "no value"
        (["empty"], "no images"),
        (["picture.png", "--size", "31"], "32"),
        (["picture.png", "--top-k", "0"], "--top-k"),
        (["picture.png", "--topk", "3"], "--top-k"),
        (["picture.png", "--device", "cuda:99"], "cuda:99"),
        ([], "at least one image"),
        (["https://a.org/b.jpg"], "download the image"),
        (["photos.tar"], "unpack it"),
        (["photos.tar/a/b.jpg"], "photos.tar is an archive"),
    ],
)
def test_a_mistake_in_the_call(gcvit: Command, best: Path, words: list[str], said: str) -> None:
    Path("empty").mkdir()
    Path("photos.tar").write_bytes(b"anything")
    Image.new("RGB", (64, 64)).save("picture.png")
    result = gcvit("predict", best, *words)
    assert result.code == 2
    assert said in result.err
    assert "Traceback" not in result.err
    assert result.out == ""


def test_a_model_without_classes_is_refused(gcvit: Command) -> None:
    Image.new("RGB", (64, 64)).save("picture.png")
    save_hub(create_model("gcvit_pico", num_classes=0), "features", preprocessing=Preprocessing(size=(64, 64)))
    result = gcvit("predict", "features", "picture.png", "--device", "cpu")
    assert result.code == 2
    assert "features has no classes" in result.err
    assert result.out == ""


def test_nothing_but_unreadable_images(gcvit: Command, best: Path) -> None:
    Path("note.jpg").write_text("not an image")
    result = gcvit("predict", best, "note.jpg", "--json", "--device", "cpu")
    assert result.code == 1
    assert "note.jpg" in result.err
    assert result.out == ""


def test_a_runs_folder_is_its_best(gcvit: Command, best: Path, folders: Path) -> None:
    file = folders / "val" / "ring" / "0001.png"
    one, two = (gcvit("predict", source, file, "--json", "--device", "cpu") for source in (best, best.parent))
    assert one.code == 0, one.err
    assert one.out == two.out


def test_flip_does_not_tell_an_image_from_its_mirror_image(gcvit: Command, best: Path, folders: Path) -> None:
    image = load_image(folders / "val" / "crescent" / "0001.png")
    image.save("a.png")
    image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save("b.png")
    command = ["predict", best, "a.png", "b.png", "--json", "--top-k", "10", "--device", "cpu"]
    for flags, same in (([], False), (["--tta", "flip"], True)):
        shares = [
            {row["label"]: row["probability"] for row in rows}
            for rows in predictions(gcvit(*command, *flags).out).values()
        ]
        assert (shares[0] == pytest.approx(shares[1], abs=2e-6)) == same


def test_imagenets_folder_names_are_explained() -> None:
    prediction = Prediction(Path("a.jpg"), (("n01443537", 1, 0.9123456789), ("ring", 2, 0.08), ("disc", 3, 0.00049)))
    line = Lines([Path("a.jpg")])(prediction)
    assert line.split("  ")[1:] == ["goldfish (n01443537)", "91.2%", "ring 8.0%"]  # no next best of 0.0%
    first, second, third = json.loads(as_json(prediction))["predictions"]
    assert first == {
        "label": "n01443537", "description": "goldfish, Carassius auratus", "index": 1, "probability": 0.912346,
    }  # fmt: skip
    assert second == {"label": "ring", "index": 2, "probability": 0.08}
    assert third["probability"] == 0.00049


def test_a_file_whose_name_is_no_text(gcvit: Command, best: Path) -> None:
    name = b"caf\xe9.png".decode(errors="surrogateescape")
    Image.new("RGB", (64, 64)).save("good.png")
    Path("good.png").rename(name)
    for flags in ([], ["--json"]):
        result = gcvit("predict", best, ".", "--device", "cpu", *flags)
        assert result.code == 0, result.err
        assert "caf\\udce9.png" in result.out
