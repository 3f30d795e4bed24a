"""`gcvit export`: what agrees is written whole with its sidecar, what does not leaves nothing."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from gcvit.export import writing
from gcvit.export.sidecar import read_sidecar
from gcvit.weights.preprocessing import Preprocessing

from .conftest import Command, Fake


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.rglob("*")}


def test_a_file_for_each_size(gcvit: Command, fake: Fake, run_folder: Path) -> None:
    result = gcvit("export", run_folder, "--to", "openvino", "--size", "64", "72x100", "64x64")
    assert result.code == 0, result.err
    assert result.out.count("written") == 2
    stems = ("gcvit_pico-64x64", "gcvit_pico-72x100")
    assert names(Path("exported")) == {stem + end for stem in stems for end in (".xml", ".bin", ".xml.json")}
    assert "built-in pictures" in result.out
    assert "gcvit predict exported/gcvit_pico-64x64.xml photo.jpg" in result.out
    for stem, size in zip(stems, [(64, 64), (72, 100)], strict=True):
        sidecar = read_sidecar(Path("exported") / f"{stem}.xml")
        assert (sidecar.task, sidecar.size, sidecar.int8, sidecar.in_chans) == ("classify", size, False, 3)
        assert sidecar.preprocessing["size"] == list(size)
        assert sidecar.preprocessing.keys() == vars(Preprocessing()).keys()
        assert sidecar.classes is not None
        assert "ring" in sidecar.classes
        assert [row["batch"] for row in sidecar.checked["differences"]] == [1, 3, 8]
        assert "openvino" in sidecar.software


def test_a_segmentation_model_is_recognised(gcvit: Command, fake: Fake, segment_model: Path) -> None:
    result = gcvit("export", segment_model, "--to", "onnx", "--out", "out")
    assert result.code == 0, result.err
    assert "gcvit predict out/gcvit_pico-segment-64x64.onnx photo.jpg" in result.out
    sidecar = read_sidecar(Path("out/gcvit_pico-segment-64x64.onnx"))
    assert sidecar.task == "segment"
    assert sidecar.classes is not None
    assert sidecar.palette is not None
    assert len(sidecar.classes) == len(sidecar.palette)
    (model,) = fake.models.values()
    assert model(torch.zeros(2, 3, 64, 64)).shape == (2, len(sidecar.classes), 16, 16)


@pytest.mark.parametrize("kind", ["best", "segment_model"])
def test_a_backbone_gives_four_maps(gcvit: Command, fake: Fake, kind: str, request: pytest.FixtureRequest) -> None:
    result = gcvit("export", request.getfixturevalue(kind), "--to", "torch-export", "--part", "backbone")
    assert result.code == 0, result.err
    assert "cosine" in result.out
    assert "gcvit predict" not in result.out
    sidecar = read_sidecar(Path("exported/gcvit_pico-backbone-64x64.pt2"))
    assert (sidecar.task, sidecar.classes, sidecar.palette) == ("backbone", None, None)
    described = gcvit("info", "exported/gcvit_pico-backbone-64x64.pt2")
    assert (described.code, described.next) == (0, [])  # no command takes it
    (model,) = fake.models.values()
    assert [x.shape[2:] for x in model(torch.zeros(1, 3, 64, 64))] == [(16, 16), (8, 8), (4, 4), (2, 2)]


def test_a_wrong_export_is_not_written(gcvit: Command, fake: Fake, best: Path) -> None:
    fake.factor = 1.001
    result = gcvit("export", best, "--to", "openvino", "--out", "out")
    assert result.code == 1
    assert names(Path("out")) == set()
    assert "gcvit_pico-64x64.xml was not written: on noise, batch 1 it is off by 1.0e-03 relative" in result.message
    assert "Next:" not in result.out


def test_a_wrong_export_does_not_replace_a_right_one(gcvit: Command, fake: Fake, best: Path) -> None:
    assert gcvit("export", best, "--to", "openvino").code == 0
    before = {file: file.read_bytes() for file in Path("exported").iterdir()}
    fake.factor = 2.0
    assert gcvit("export", best, "--to", "openvino").code == 1
    assert {file: file.read_bytes() for file in Path("exported").iterdir()} == before


def test_another_models_export_is_not_replaced(gcvit: Command, fake: Fake, best: Path) -> None:
    assert gcvit("export", best, "--to", "openvino").code == 0
    before = {file: file.read_bytes() for file in Path("exported").iterdir()}
    shutil.copytree(best, "another")
    result = gcvit("export", "another", "--to", "openvino")
    assert result.code == 2
    assert "is the export of" in result.message
    assert {file: file.read_bytes() for file in Path("exported").iterdir()} == before
    assert gcvit("export", "another", "--to", "openvino", "--out", "others").code == 0


@pytest.mark.parametrize("step", ["convert", "load", "check", "write_sidecar", "_flush"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_export_leaves_nothing(
    gcvit: Command, fake: Fake, best: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    original = getattr(writing, step)

    def fail(*arguments: Any, **named: Any) -> None:
        original(*arguments, **named)
        raise error

    monkeypatch.setattr(writing, step, fail)
    assert gcvit("export", best, "--to", "openvino").code == (130 if isinstance(error, KeyboardInterrupt) else 2)
    assert names(Path("exported")) == set()


def test_an_export_that_is_replaced_half_way_is_refused(
    gcvit: Command, fake: Fake, best: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gcvit("export", best, "--to", "openvino").code == 0
    replace, moved = Path.replace, []

    def stop_at_second(self: Path, target: Path) -> Path:
        if self.parent != target.parent:  # not the sidecar that is renamed where it was written
            moved.append(target)
            if len(moved) == 2:
                raise OSError(5, "Input/output error", str(target))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", stop_at_second)
    fake.factor = 1.0 + 1e-7
    assert gcvit("export", best, "--to", "openvino").code == 2
    with pytest.raises(ValueError, match="bin is not what was exported"):
        read_sidecar(Path("exported/gcvit_pico-64x64.xml"))


def test_int8_is_calibrated_on_pictures_of_all_folders(
    gcvit: Command, fake: Fake, best: Path, folders: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "pictures" / "a" / "broken.png"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no picture")
    (tmp_path / "pictures" / "shapes").symlink_to(folders / "val")
    result = gcvit("export", best, "--to", "onnx", "--int8", "--calibration", "pictures", "--calibration-images", "11")
    assert result.code == 0, result.err
    assert result.err.count("broken.png") == 1
    (batches,) = fake.calibrated
    assert batches is not None
    assert sum(map(len, batches)) == 10
    assert {tuple(batch.shape[1:]) for batch in batches} == {(3, 64, 64)}
    assert read_sidecar(Path("exported/gcvit_pico-64x64-int8.onnx")).int8


def test_int8_that_forgets_the_classes_is_deleted(gcvit: Command, fake: Fake, best: Path, folders: Path) -> None:
    fake.factor = -1.0
    words = ["export", best, "--to", "onnx", "--int8", "--calibration", folders / "val"]
    result = gcvit(*words)
    assert result.code == 1
    assert "--min-agreement asks for 95.0%" in result.message
    assert names(Path("exported")) == set()
    assert gcvit(*words, "--min-agreement", "0").code == 0
    fake.factor = 0.9  # far from rounding, and the same classes
    assert gcvit(*words, "--min-agreement", "1").code == 0


def test_int8_that_is_slower_says_so(gcvit: Command, fake: Fake, best: Path, folders: Path) -> None:
    words = ["export", best, "--to", "onnx", "--int8", "--calibration", folders / "val", "--calibration-images", "4"]
    fake.seconds["fp32"] = 0.05
    result = gcvit(*words)
    assert "in fp32, ms" in result.out
    assert "int8 is slower" not in result.out
    fake.seconds = {"int8": 0.05, "fp32": 0.0}
    result = gcvit(*words)
    assert result.code == 0, result.err
    assert "int8 is slower than fp32 on this processor (batch 1: " in result.out
    assert "without --int8 the file is faster" in result.out
    speeds = read_sidecar(Path("exported/gcvit_pico-64x64-int8.onnx")).checked["speeds"]
    assert all(row["export_ms"] >= 50 and row["fp32_ms"] is not None for row in speeds)
    result = gcvit("export", best, "--to", "onnx")
    assert "fp32" not in result.out


def test_pictures_to_compare_on(gcvit: Command, fake: Fake, best: Path, folders: Path) -> None:
    result = gcvit("export", best, "--to", "onnx", "--images", folders / "val", "--check-images", "9")
    assert result.code == 0, result.err
    (row,) = read_sidecar(Path("exported/gcvit_pico-64x64.onnx")).checked["differences"][2:]
    assert (row["images"], row["count"]) == (f"--images {folders / 'val'}", 9)


def test_pictures_of_the_calibration_are_compared_on_whatever_else_is(
    gcvit: Command, fake: Fake, best: Path, folders: Path
) -> None:
    Path("noise").symlink_to(folders / "val")
    words = ["export", best, "--to", "onnx", "--int8", "--calibration", "noise", "--calibration-images", "11"]
    assert gcvit(*words, "--images", "noise", "--check-images", "9").code == 0
    rows = read_sidecar(Path("exported/gcvit_pico-64x64-int8.onnx")).checked["differences"][2:]
    assert [(row["images"], row["count"]) for row in rows] == [("--images noise", 9), ("calibration pictures", 11)]
    fake.factor = -1.0
    assert gcvit(*words).code == 1


def test_a_missing_compiler_is_told_before_any_work(gcvit: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise RuntimeError("no compiler")

    monkeypatch.setattr("gcvit.export.convert.get_cpp_compiler", missing)
    monkeypatch.setattr("gcvit.opening.open", lambda *_: pytest.fail("the model was opened"))
    result = gcvit("export", "gcvit_pico", "--to", "aot")
    assert result.code == 2
    assert "aot needs a C++ compiler" in result.message


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--to", "torch-export", "--int8", "--calibration", "pictures"], "no int8 for torch-export"),
        (["--to", "aot", "--int8", "--calibration", "pictures"], "no int8 for aot; there is for onnx and openvino"),
        (["--to", "onnx", "--int8"], "--int8 needs --calibration"),
        (["--to", "onnx", "--int8", "--calibration", "empty"], "empty: no images in this folder"),
        (["--to", "onnx", "--int8", "--calibration", "absent"], "absent: no such file or folder"),
        (["--to", "onnx", "--calibration", "pictures"], "add --int8"),
        (["--to", "onnx", "--images", "empty"], "empty: no images in this folder"),
        (["--to", "onnx", "--size", "64", "31x64"], "from 32 to"),
        (["--to", "onnx", "--size", "large"], "HEIGHTxWIDTH"),
        (["--to", "onnx", "--min-agreement", "95"], "a share, from 0 to 1"),
        (["--to", "onnx", "--check-images", "0"], "at least 1"),
        (["--to", "onnx", "--out", "pictures/a.png"], "is a file"),
        (["--to", "onnx", "--out", "/proc/nothing"], "/proc/nothing: no results can be written there"),
        (["--to", "tensorrt"], "tensorrt"),
    ],
)
def test_what_cannot_be_is_said_before_any_work(
    gcvit: Command, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.setattr("gcvit.opening.open", lambda *_: pytest.fail("the model was opened"))
    for folder in ("pictures", "empty"):
        Path(folder).mkdir()
    Image.new("RGB", (64, 64)).save("pictures/a.png")
    result = gcvit("export", "gcvit_pico", *words)
    assert result.code == 2
    assert said in result.message
    assert not Path("exported").exists()


@pytest.mark.parametrize(
    ("to", "package", "words"),
    [
        ("onnx", "onnxscript", []),
        ("onnx", "onnxruntime", []),
        ("openvino", "openvino", []),
        ("openvino", "nncf", ["--int8", "--calibration", "pictures"]),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    gcvit: Command, monkeypatch: pytest.MonkeyPatch, to: str, package: str, words: list[str]
) -> None:
    Path("pictures").mkdir()
    Image.new("RGB", (64, 64)).save("pictures/a.png")
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr("gcvit.opening.open", lambda *_: pytest.fail("the model was opened"))
    result = gcvit("export", "gcvit_pico", "--to", to, *words)
    assert result.code == 2
    assert f"needs {package}, which is not installed; " in result.message
    assert "pip install '.[export]'" in result.message


def test_pictures_that_cannot_be_read_at_all(gcvit: Command, fake: Fake, best: Path) -> None:
    Path("pictures").mkdir()
    Path("pictures/a.png").write_bytes(b"no picture")
    result = gcvit("export", best, "--to", "onnx", "--int8", "--calibration", "pictures")
    assert result.code == 2
    assert "none of 1 pictures could be read" in result.message


def test_names_that_are_none_are_answered_as_predict_does(gcvit: Command) -> None:
    result = gcvit("export", "gcvit_tinny", "--to", "onnx")
    assert result.code == 2
    assert "did you mean gcvit_tiny" in result.message
