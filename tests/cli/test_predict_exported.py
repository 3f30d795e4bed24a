"""`gcvit predict` on exported files: what the checkpoint says, whatever the picture, and what such a file cannot do."""

import hashlib
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.classifier import classifier, exported_classifier
from gcvit.cli.main import main
from gcvit.export.formats import Format
from gcvit.export.runtime import Program, load
from once import Once

from .conftest import Command, Outcome

QUICK: tuple[Format, ...] = ("torch-export", "onnx")  # all are run in tests/export
READ: dict[str, Program] = {}


@pytest.fixture(autouse=True)
def _programs_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of torch, which takes seconds, by what is in their files; that files are read is tested in tests/export."""

    def read(path: Path, to: Format) -> Program:
        if to != "torch-export":
            return load(path, to)
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        if content not in READ:
            READ[content] = load(path, to)
        return READ[content]

    monkeypatch.setattr("gcvit.export.opening.load", read)


@pytest.fixture(scope="session")
def model_folder(once: Once) -> Path:
    """The folder of a classifier. Do not change it."""
    return classifier(once)


@pytest.fixture(scope="session")
def exported(once: Once) -> Callable[[Format], Path]:
    """Its model as a file of a format. Do not change it."""
    return partial(exported_classifier, once)


@pytest.fixture(scope="session")
def segmenter_file(segment_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small segmentation model for 64×64 px, as the command exports it. Do not change it."""
    folder = tmp_path_factory.mktemp("exported")
    main(["export", str(segment_model), "--to", "torch-export", "--out", str(folder)])
    (path,) = folder.glob("*.pt2")
    return path


@pytest.fixture
def copy(exported: Callable[[Format], Path], tmp_path: Path) -> Path:
    """A copy of the ONNX file and its sidecar, to be damaged."""
    file = exported("onnx")
    for path in (file, sidecar(file)):
        shutil.copy(path, tmp_path)
    return tmp_path / file.name


def sidecar(file: Path) -> Path:
    return file.with_name(file.name + ".json")


@pytest.fixture
def pictures(folders: Path, tmp_path: Path) -> Path:
    """Grey, transparent, CMYK, 16-bit, tiny and long pictures, ordinary ones, a truncated and an empty one: 26."""
    root = tmp_path / "pictures"
    shutil.copytree(folders / "val", root / "shapes")
    pixels = np.random.default_rng(0).integers(0, 255, (45, 71, 4), dtype=np.uint8)
    Image.fromarray(pixels[..., 0]).save(root / "grey.png")
    Image.fromarray(pixels).save(root / "glass.png")
    Image.fromarray(pixels, "CMYK").save(root / "print.jpg")
    Image.fromarray(pixels[:1, :, :3]).save(root / "line.png")
    cut = root / "cut.png"
    Image.fromarray(pixels).save(cut)
    cut.write_bytes(cut.read_bytes()[:-200])
    (root / "empty.png").touch()
    return root


def assert_the_same(one: Outcome, other: Outcome) -> None:
    """The same exit code, messages, files and classes, and probabilities to four digits."""
    assert (one.code, one.err) == (other.code, other.err)
    for ours, theirs in zip(one.rows, other.rows, strict=True):
        assert (ours["file"], ours.get("error")) == (theirs["file"], theirs.get("error"))
        shares = {row["label"]: row["probability"] for row in theirs.get("predictions", [])}
        for row in ours.get("predictions", []):
            assert row["probability"] == pytest.approx(shares[row["label"]], abs=1e-4)


@pytest.mark.parametrize("flags", [[], ["--tta", "flip", "--batch-size", "7"], ["--batch-size", "1"]])
def test_a_file_says_what_its_checkpoint_says(
    gcvit: Command, model_folder: Path, exported: Callable[[Format], Path], pictures: Path, flags: list[str]
) -> None:
    flags = ["--json", "--top-k", "99", *flags]  # all: those that are equally likely may change places
    expected = gcvit("predict", model_folder, pictures, *flags, "--device", "cpu")
    assert expected.code == 1
    assert sum("error" not in row for row in expected.rows) == 24
    assert "2 of 26 images could not be read" in expected.err
    for to in QUICK:
        assert_the_same(gcvit("predict", exported(to), pictures, *flags, "--trust-code"), expected)


def test_a_file_is_measured_as_its_checkpoint_is(
    gcvit: Command, model_folder: Path, exported: Callable[[Format], Path], copy: Path, folders: Path
) -> None:
    words = ["--data", folders, "--json", "--device", "cpu"]
    expected = json.loads(gcvit("eval", model_folder, *words).out)
    result = gcvit("eval", exported("onnx"), *words)
    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert found["loss"] == pytest.approx(expected["loss"], abs=1e-5)
    assert found["per_class"] == expected["per_class"]
    edit(copy, classes=None)
    assert json.loads(gcvit("eval", copy, *words).out)["images"] == 20  # which output is which class, nobody knows
    table = gcvit("eval", model_folder, exported("onnx"), "--data", folders, "--device", "cpu").out
    (row,) = (line.split() for line in table.splitlines() if line.startswith(str(exported("onnx"))))
    assert row[1] == "–"  # the file does not say how many parameters it has
    assert "takes one size" in gcvit("eval", exported("onnx"), "--size", "96").message


def test_what_follows_a_file_of_code_is_trusted_too(
    gcvit: Command, exported: Callable[[Format], Path], folders: Path
) -> None:
    file = exported("torch-export")
    result = gcvit("eval", file, "--data", folders, "--trust-code", "--out", "out")
    command = ["predict", str(file), "photo.jpg", "--trust-code"]
    assert result.next[0] == command
    assert f"gcvit {' '.join(command)}" in Path("out/report.html").read_text()


def test_a_file_of_code_is_not_opened_unasked(
    gcvit: Command, exported: Callable[[Format], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*arguments: object, **settings: object) -> None:
        raise AssertionError("the file was opened")

    file = exported("torch-export")
    monkeypatch.setattr("gcvit.export.opening.load", load)
    assert "--trust-code" in refusal(gcvit, file)


def test_the_line_and_the_next_step(gcvit: Command, exported: Callable[[Format], Path], folders: Path) -> None:
    file, picture = exported("onnx"), folders / "val" / "ring" / "0001.png"
    result = gcvit("predict", file, picture, "--device", "cpu")
    assert result.code == 0, result.err
    assert str(picture) in result.out
    assert "%" in result.out
    assert f"gcvit predict {file} {picture} --json" in result.out
    assert "gcvit info" not in result.out


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--size", "96"], "takes one size"), (["--device", "cuda"], "exported files run on the CPU")],
)
def test_what_a_file_cannot_do_is_refused(
    gcvit: Command, exported: Callable[[Format], Path], words: list[str], said: str
) -> None:
    Image.new("RGB", (64, 64)).save("picture.png")
    result = gcvit("predict", exported("onnx"), "picture.png", *words)
    assert result.code == 2
    assert said in result.message
    assert result.out == ""


def refusal(gcvit: Command, *words: object) -> str:
    """The message of a call that is refused before anything is said."""
    Image.new("RGB", (64, 64)).save("picture.png")
    result = gcvit("predict", *words, "picture.png")
    assert result.code == 2
    assert result.out == ""
    assert "Traceback" not in result.err
    return result.message


def test_a_file_without_its_sidecar(gcvit: Command, copy: Path) -> None:
    sidecar(copy).unlink()
    assert sidecar(copy).name in refusal(gcvit, copy)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": "onnx"}', "\udcff"])
def test_a_damaged_sidecar(gcvit: Command, copy: Path, content: str) -> None:
    sidecar(copy).write_bytes(content.encode(errors="surrogateescape"))
    assert sidecar(copy).name in refusal(gcvit, copy)


def test_a_file_that_was_changed_after_the_export(gcvit: Command, copy: Path) -> None:
    content = bytearray(copy.read_bytes())
    content[len(content) // 2] ^= 1
    copy.write_bytes(content)
    assert copy.name in refusal(gcvit, copy)


def test_a_sidecar_without_its_file(gcvit: Command, copy: Path) -> None:
    copy.unlink()
    assert copy.name in refusal(gcvit, copy)


@pytest.mark.parametrize("name", ["model.xml", "model.pt2", "model.aot.pt2", "model.pth", "model"])
def test_a_file_of_another_suffix(gcvit: Command, copy: Path, name: str) -> None:
    renamed = copy.with_name(name)
    shutil.move(copy, renamed)
    shutil.move(sidecar(copy), sidecar(renamed))
    assert name in refusal(gcvit, renamed)


def edit(file: Path, **values: object) -> None:
    """Change values in a sidecar."""
    content = json.loads(sidecar(file).read_text())
    sidecar(file).write_text(json.dumps({**content, **values}))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"classes": ["one"]}, "its sidecar names 1"),
        ({"in_chans": 1}, "takes fp32 images of shape"),
        ({"source": "\x1b[2J"}, "source should be a text"),
        ({"\x1b[2J": 1}, r"unknown keys: \x1b[2J"),
        ({"preprocessing": {"interpolation": "magic"}}, "interpolation must be one of"),
        ({"preprocessing": {"std": [0.0, 0.0, 0.0]}}, "std above 0"),
        ({"preprocessing": {"mean": [0.5, 0.5]}}, "for each channel"),
        ({"preprocessing": {"crop_pct": 0.0}}, "crop_pct must be above 0"),
    ],
)
def test_a_sidecar_that_does_not_fit_its_file(gcvit: Command, copy: Path, values: dict, said: str) -> None:
    edit(copy, **values)
    assert said in refusal(gcvit, copy)


def test_a_segmentation_file_without_colours(gcvit: Command, segmenter_file: Path, tmp_path: Path) -> None:
    for path in (segmenter_file, sidecar(segmenter_file)):
        shutil.copy(path, tmp_path)
    copy = tmp_path / segmenter_file.name
    for palette in (None, [[0, 0, 0]]):
        edit(copy, palette=palette)
        assert "each class a colour" in refusal(gcvit, copy, "--trust-code", "--out", "out")


def test_a_backbone_has_no_classes(gcvit: Command, copy: Path) -> None:
    edit(copy, task="backbone", classes=None)
    assert "a backbone" in refusal(gcvit, copy)
    assert "a backbone" in refusal(gcvit, copy, "--out", "out")


def test_classes_without_names_are_numbered(gcvit: Command, copy: Path) -> None:
    edit(copy, classes=None)
    Image.new("RGB", (64, 64)).save("picture.png")
    result = gcvit("predict", copy, "picture.png", "--json")
    assert result.code == 0, result.err
    assert [row["label"] for row in result.rows[0]["predictions"]] == [
        str(row["index"]) for row in result.rows[0]["predictions"]
    ]


def test_a_file_finds_its_task(gcvit: Command, copy: Path, segmenter_file: Path) -> None:
    Image.new("RGB", (64, 64)).save("picture.png")
    words = ["picture.png", "--out", "out", "--json", "--trust-code"]
    (one,), (other,) = (gcvit("predict", file, *words).rows for file in (copy, segmenter_file))
    assert "predictions" in one
    assert "shares" in other


def noise(path: str, width: int, height: int) -> str:
    pixels = np.random.default_rng(width).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("flags", [[], ["--flip", "--scales", "1", "1.5"]])
def test_windows_slide_as_the_checkpoints_do(
    gcvit: Command, segment_model: Path, segmenter_file: Path, flags: list[str]
) -> None:
    words = [noise("one.png", 64, 64), noise("large.png", 150, 101), *flags, "--device", "cpu"]
    theirs = gcvit("predict", segment_model, *words, "--out", "a", "--mode", "slide")
    ours = gcvit("predict", segmenter_file, "--trust-code", *words, "--out", "b")
    assert (theirs.code, ours.code) == (0, 0), ours.err
    for name in ("one", "large"):
        with Image.open(f"a/{name}.labels.png") as one, Image.open(f"b/{name}.labels.png") as other:
            assert len(np.unique(one)) > 1
            assert (np.array(one) == np.array(other)).mean() > 0.999
            assert one.getpalette() == other.getpalette()


def test_pictures_that_are_smaller_than_the_window(gcvit: Command, segmenter_file: Path) -> None:
    files = [noise("dot.png", 1, 1), noise("line.png", 300, 1), noise("odd.png", 33, 61)]
    result = gcvit("predict", segmenter_file, "--trust-code", *files, "--out", "out", "--json")
    assert result.code == 0, result.err
    assert [row["size"] for row in result.rows] == [[1, 1], [1, 300], [61, 33]]


def test_whole_pictures_only_where_they_fit(gcvit: Command, segmenter_file: Path) -> None:
    fits, large = noise("fits.png", 64, 50), noise("large.png", 65, 64)
    for mode in ("whole", "slide"):
        result = gcvit("predict", segmenter_file, "--trust-code", fits, "--out", mode, "--mode", mode)
        assert result.code == 0, result.err
    assert Path("whole/fits.labels.png").read_bytes() == Path("slide/fits.labels.png").read_bytes()
    refused = gcvit("predict", segmenter_file, "--trust-code", large, "--out", "out", "--mode", "whole")
    assert refused.code == 2
    assert "64×64 pixels, and 64×65 are to be seen at once; leave out --mode whole" in refused.message


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--precision", "bf16"], "what it was exported in"), (["--device", "cuda"], "exported files run on the CPU")],
)
def test_what_a_segmentation_file_cannot_do(gcvit: Command, segmenter_file: Path, words: list[str], said: str) -> None:
    assert said in refusal(gcvit, segmenter_file, "--trust-code", "--out", "out", *words)
    assert not Path("out").exists()
