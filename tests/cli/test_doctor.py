"""`gcvit doctor` and `gcvit data index`, as a person sees them."""

import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from .conftest import Command


@pytest.fixture
def data(folders: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folders, tmp_path / "data"))


def test_clean_data(gcvit: Command, data: Path) -> None:
    result = gcvit("doctor", data, "--workers", 0)
    assert (result.code, result.err) == (0, "")
    assert "nothing to mend" in result.out
    assert result.out.rstrip().endswith(f"gcvit train classify small_images --data {data}")


def test_faults_end_with_1_and_are_all_in_the_file(gcvit: Command, data: Path) -> None:
    shutil.copy(data / "train/ring/0001.png", data / "val/ring/0009.png")
    (data / "train/ring/0002.png").write_bytes(b"")
    result = gcvit("doctor", data, "--workers", 0, "--json", "findings.json")
    assert result.code == 1
    assert "LEAK: 1 × the same image" in result.out
    assert f"{data}/train/ring/0002.png: the file is empty" in result.out
    assert "--bad-images skip" in result.out
    kinds = [finding["kind"] for finding in json.loads(Path("findings.json").read_text("utf8"))["faults"]]
    assert kinds == ["unreadable", "held-out image that is also trained on"]


def test_names_that_are_no_text_are_in_the_file(gcvit: Command, data: Path) -> None:
    odd = data / "train/ring" / os.fsdecode(b"b\xe9d.png")
    odd.write_bytes(b"")
    assert gcvit("doctor", data, "--workers", 0, "--json", "findings.json").code == 1
    (finding,) = json.loads(Path("findings.json").read_text("utf8"))["faults"]
    assert str(odd) in json.dumps(finding, ensure_ascii=False)


def test_an_index_is_written_and_used(gcvit: Command, data: Path) -> None:
    Path("tars").mkdir()
    for split in ("train", "val"):
        with tarfile.open(f"tars/{split}.tar", "w") as tar:
            tar.add(data / split, split)
    assert "`gcvit data index tars`" in gcvit("doctor", "tars", "--workers", 0).message
    result = gcvit("data", "index", "tars")
    assert "tars/train.tar.index.json: 40 images" in result.out
    assert "gcvit train classify small_images --data tars" in result.out
    result = gcvit("doctor", "tars", "--workers", 0)
    assert (result.code, result.err) == (0, "")


@pytest.mark.parametrize("what", ["", "best", "best/model.safetensors", "last"])
def test_a_model_is_no_data(gcvit: Command, run_folder: Path, what: str) -> None:
    result = gcvit("doctor", run_folder / what)
    assert (result.code, result.out) == (2, "")
    place = run_folder / what
    assert result.message.endswith(f"{place} is a model, not data; `gcvit info {place}` describes it")
    assert gcvit("info", run_folder / what).code == 0
    assert "is a model, not data" in gcvit("doctor", "--task", "classify", run_folder / what).err


def test_annotations_as_xml_are_no_model(gcvit: Command) -> None:
    Path("scene.xml").write_text("<annotation/>")
    assert "is a model" not in gcvit("doctor", "scene.xml").err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("data", "index", "none"), "none: no such file or folder"),
        (("data", "index", "."), ".: no .tar files in it"),
        (("doctor", "none"), "none: no such folder"),
        (("doctor", ""), "the data have no name; give a folder or a file"),
        (("doctor", __file__), f"{__file__}: not a tar archive"),
        (("doctor", ".", "--workers", "-1"), "--workers must be at least 0, not -1"),
    ],
)
def test_mistakes(gcvit: Command, words: tuple[str, ...], said: str) -> None:
    result = gcvit(*words)
    assert (result.code, result.out) == (2, "")
    assert said in result.err
