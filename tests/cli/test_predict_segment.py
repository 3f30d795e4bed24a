"""`gcvit predict segment`: what lies in the folder afterwards, names that do not clash, and damaged images."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gcvit.cli.predict_segment import result_names
from gcvit.data.images import load_image
from gcvit.data.label_maps import LabelMapping, load_labels
from gcvit.data.scenes import SCENE_CLASSES
from gcvit.data.segment_transforms import EvalScene
from gcvit.tasks.segment.inference import segment_logits
from gcvit.tasks.segment.saving import open_segmenter

from .conftest import Command

CPU = ["--device", "cpu"]


def picture(path: str, width: int = 64, height: int = 64) -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(width).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    return file


def results(out: str) -> set[str]:
    return {str(path.relative_to(out)) for path in Path(out).rglob("*") if path.is_file()}


def three(*names: str, kind: str = "png") -> set[str]:
    return {f"{name}{end}" for name in names for end in (f".overlay.{kind}", ".labels.png", ".json")}


def test_labels_shares_and_colours_are_what_the_model_says(gcvit: Command, segment_model: Path) -> None:
    file = picture("a.png", 90, 70)
    result = gcvit("predict", "segment", segment_model, file, "--out", "out", "--json", *CPU)
    assert result.code == 0, result.err
    opened = open_segmenter(segment_model)
    shown = EvalScene(None, opened.preprocessing.mean, opened.preprocessing.std)(load_image(file))
    with torch.inference_mode():
        expected = segment_logits(opened.model, shown[None], (70, 90)).argmax(1)[0].numpy()
    labels = load_labels("out/a.labels.png", LabelMapping(len(SCENE_CLASSES)))
    assert (labels == expected).mean() > 0.999
    with Image.open("out/a.labels.png") as image:
        assert image.getpalette()[:33] == [part for colour in opened.palette for part in colour]
    (told,) = map(json.loads, result.out.splitlines())
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


def test_the_lines(gcvit: Command, segment_model: Path) -> None:
    picture("photos/a.png")
    result = gcvit("predict", "segment", segment_model, "photos", "--out", "out", "--overlay", "jpg", *CPU)
    assert result.code == 0, result.err
    first, *_ = result.out.splitlines()
    assert first.startswith("photos/a.png  ")
    assert "%" in first
    assert "Next:" in result.out
    assert results("out") == three("a", kind="jpg")
    with Image.open("out/a.overlay.jpg") as image:
        assert image.format == "JPEG"


def test_images_of_one_name_do_not_overwrite_one_another(gcvit: Command, segment_model: Path) -> None:
    files = [picture("a/1.png", 33), picture("b/1.png", 34), picture("b/c/1.png", 35)]
    result = gcvit("predict", "segment", segment_model, *files, files[0], "--out", "out", "--json", *CPU)
    assert result.code == 0, result.err
    assert results("out") == three("a/1", "b/1", "b/c/1")
    assert [json.loads(Path(f"out/{name}.json").read_text())["size"][1] for name in ("a/1", "b/1", "b/c/1")] == [
        33, 34, 35,
    ]  # fmt: skip
    assert len(result.out.splitlines()) == 3


def test_names_are_never_the_same() -> None:
    for files in (["a.png", "a.jpg"], ["a.png", "a.jpg", "a.png.gif"], ["x/a.png", "y/a.png"], ["a", "a.png"]):
        names = result_names([Path(file) for file in files], Path("out"))
        assert len(set(names.values())) == len(files)
        assert all(name.is_relative_to("out") for name in names.values())
    assert result_names([Path("../p/a.png")], Path("out")) == {Path("../p/a.png"): Path("out/a")}


def test_an_image_is_never_overwritten(gcvit: Command, segment_model: Path) -> None:
    file = picture("out/a.labels.png")
    shutil.copy(picture("photos/a.png"), "out/a.png")
    before = file.read_bytes()
    result = gcvit("predict", "segment", segment_model, "out/a.png", file, "--out", "out", *CPU)
    assert result.code == 2
    assert "out/a.labels.png is one of the images and would be overwritten" in result.message
    result = gcvit("predict", "segment", segment_model, "out", "--out", "out", *CPU)
    assert result.code == 2
    assert "--out out is the folder with the images" in result.message
    assert file.read_bytes() == before
    assert results("out") == {"a.png", "a.labels.png"}


def test_results_in_a_folder_that_is_searched_are_no_images(gcvit: Command, segment_model: Path) -> None:
    picture("photos/a.png")
    for _ in range(2):
        result = gcvit("predict", "segment", segment_model, "photos", "--out", "photos/out", *CPU)
        assert result.code == 0, result.err
    assert results("photos/out") == three("a")


def test_damaged_images_are_reported_and_the_others_done(gcvit: Command, segment_model: Path) -> None:
    cut = picture("photos/b.png")
    cut.write_bytes(cut.read_bytes()[:300])
    Path("photos/c.png").touch()
    for name in "adef":
        picture(f"photos/{name}.png")
    result = gcvit("predict", "segment", segment_model, "photos", "--out", "out", "--json", *CPU)
    assert result.code == 1
    assert results("out") == three(*"adef")
    assert "photos/b.png" in result.err
    assert "photos/c.png: the file is empty" in result.err
    assert "2 of 6 images could not be read" in result.message
    assert "Traceback" not in result.err


def test_any_kind_and_size_of_image(gcvit: Command, segment_model: Path) -> None:
    Image.new("L", (1, 1), 7).save("dot.png")
    Image.new("RGBA", (300, 1), (9, 9, 9, 0)).save("line.png")
    Image.new("CMYK", (33, 90)).save("print.jpg")
    for flags in ([], ["--mode", "slide"], ["--scales", "0.5", "1.5", "--flip"]):
        result = gcvit(
            "predict",
            "segment",
            segment_model,
            "dot.png",
            "line.png",
            "print.jpg",
            "--out",
            "out",
            "--json",
            *flags,
            *CPU,
        )
        assert result.code == 0, result.err
        assert [json.loads(line)["size"] for line in result.out.splitlines()] == [[1, 1], [1, 300], [90, 33]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["absent.jpg"], "absent.jpg"),
        (["empty"], "no images"),
        (["picture.png", "--device", "cuda:99"], "cuda:99"),
        (["picture.png", "--scales", "-1"], "above 0"),
        ([], "at least one image"),
        (["https://a.org/b.jpg"], "download the image"),
        (["picture.png", "--overlay", "gif"], "gif"),
    ],
)
def test_a_mistake_in_the_call(gcvit: Command, segment_model: Path, words: list[str], said: str) -> None:
    Path("empty").mkdir()
    picture("picture.png")
    result = gcvit("predict", "segment", segment_model, *words, "--out", "out")
    assert result.code == 2
    assert said in result.message
    assert result.out == ""
    assert not Path("out").exists()


def test_the_folder_must_be_one_and_the_model_too(gcvit: Command, segment_model: Path, run_folder: Path) -> None:
    picture("picture.png")
    Path("file").touch()
    assert "file is a file" in gcvit("predict", "segment", segment_model, "picture.png", "--out", "file").message
    assert "--out" in gcvit("predict", "segment", segment_model, "picture.png").message
    for source, said in ((run_folder, "not a segmentation model"), ("./nowhere", "nowhere")):
        result = gcvit("predict", "segment", source, "picture.png", "--out", "out")
        assert result.code == 2
        assert said in result.message


def test_a_file_whose_name_is_no_text(gcvit: Command, segment_model: Path) -> None:
    name = b"caf\xe9.png".decode(errors="surrogateescape")
    picture("good.png").rename(name)
    for flags in ([], ["--json"]):
        result = gcvit("predict", "segment", segment_model, name, "--out", "out", *flags, *CPU)
        assert result.code == 0, result.err
        assert "caf\\udce9.png" in result.out
