"""`gcvit doctor` of pictures with label maps, as a person sees them."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from gcvit.data.scenes import SCENE_CLASSES, write_segmentation_folders

from .conftest import Command


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Enough built-in scenes that each class is in both parts."""
    root = tmp_path / "data"
    write_segmentation_folders(root, {"train": 30, "val": 30}, 32)
    return root


def test_clean_data(gcvit: Command, data: Path) -> None:
    result = gcvit("doctor", data, "--workers", 0)
    assert (result.code, result.err) == (0, "")
    assert "training    30 pictures, 30.7 k pixels, 0.0% of them ignored" in result.out
    assert all(f"\n{name} " in result.out for name in SCENE_CLASSES)
    assert "nothing to mend" in result.out
    assert result.out.rstrip().endswith(f"gcvit train segment --data {data} --crop 32 32")


def test_faults_end_with_1_and_are_all_in_the_file(gcvit: Command, data: Path) -> None:
    shutil.copy(data / "images/training/0001.png", data / "images/validation/0009.png")
    (data / "annotations/training/0002.png").write_bytes(b"")
    for index in range(10, 17):
        Image.new("L", (32, 32), 99).save(data / f"annotations/training/00{index}.png")
    result = gcvit("doctor", data, "--workers", 0, "--json", "findings.json")
    assert result.code == 1
    assert "LEAK: 1 × the same image" in result.out
    assert f"{data}/annotations/training/0002.png: the file is empty" in result.out
    assert "0014.png and 2 more: value 99: 7,168 px in 7 files; known are 0 to 10" in result.out
    assert "--ignore-label 99" in result.out
    assert f", then look again:\n\nNext:\n  gcvit doctor {data}" in result.out
    health = json.loads(Path("findings.json").read_text("utf8"))
    assert [finding["kind"] for finding in health["faults"]] == [
        "unreadable label map",
        "unknown label",
        "held-out image that is also trained on",
    ]
    assert len(health["faults"][1]["files"]) == 7
    assert sum(health["pixels"]["validation"].values()) == 30 * 32 * 32


def test_the_next_command_has_the_flags_that_it_needs(gcvit: Command, data: Path) -> None:
    (data / "classes.txt").rename("names.txt")
    said = gcvit("doctor", data, "--workers", 0, "--classes-file", "names.txt", "--ignore-label", "none")
    assert said.code == 0
    assert f"--data {data} --classes-file names.txt --ignore-label none --crop 32 32" in said.out
    shifted = gcvit("doctor", data, "--workers", 0, "--zero-is-ignored", "True", "--ignore-label", 10)
    assert f"--data {data} --ignore-label 10 --zero-is-ignored True --crop 32 32" in shifted.out


def test_of_many_classes_the_rarest_and_the_commonest_are_shown(gcvit: Command, data: Path) -> None:
    (data / "classes.txt").write_text("".join(f"{name}\n" for name in [*SCENE_CLASSES, *"abcdefghij"]))
    result = gcvit("doctor", data, "--workers", 0)
    assert "the 8 rarest and commonest of 21 classes" in result.out
    assert result.out.count(" none") == 2 * 8
    assert "class that never occurs\n  a, b, c, d, e and 5 more\n" in result.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("doctor", "none"), "none: no such folder"),
        (
            ("doctor", ".", "--task", "segment"),
            ".: expected the pictures in images/ and their label files in annotations",
        ),
        (("doctor", ".", "--workers", "-1"), "--workers must be at least 0, not -1"),
    ],
)
def test_mistakes(gcvit: Command, words: tuple[str, ...], said: str) -> None:
    result = gcvit(*words)
    assert (result.code, result.out) == (2, "")
    assert said in result.message
