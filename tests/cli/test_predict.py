"""`gcvit predict`: table and JSON, folders, damaged images among good ones."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gcvit.cli.predict import class_names
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


def test_published_weights_name_imagenets_classes() -> None:
    with torch.device("meta"):
        model = create_model("gcvit_xxtiny")
    opened = OpenedModel(model, "gcvit_xxtiny", Preprocessing(), None, "", CATALOGUE["gcvit_xxtiny.nvlabs"])
    names = class_names(opened)
    assert (len(names), names[0], names[999]) == (1000, "tench", "toilet tissue")
    assert class_names(replace(opened, entry=None))[999] == "999"


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
    ],
)
def test_a_mistake_in_the_call(gcvit: Command, best: Path, words: list[str], said: str) -> None:
    Path("empty").mkdir()
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
