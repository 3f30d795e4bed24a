"""Class folders that something is wrong with: one message that names the folder, and nothing lost."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import SHORT, Command


def an_empty_class(root: Path) -> str:
    shutil.rmtree(root / "train" / "ring")
    (root / "train" / "ring").mkdir()
    return "ring"


def one_class(root: Path) -> str:
    for folder in [*(root / "train").iterdir(), *(root / "val").iterdir()]:
        if folder.name != "ring":
            shutil.rmtree(folder)
    return "only one class"


def a_class_only_in_val(root: Path) -> str:
    (root / "val" / "ring").rename(root / "val" / "rings")
    return "rings"


def no_classes(root: Path) -> str:
    shutil.rmtree(root)
    root.mkdir()
    return "no class folders"


@pytest.mark.parametrize("damage", [an_empty_class, one_class, a_class_only_in_val, no_classes])
def test_training_refuses_it_before_it_writes(gcvit: Command, folders: Path, damage: Callable[[Path], str]) -> None:
    shutil.copytree(folders, "data")
    said = damage(Path("data"))
    result = gcvit("train", "classify", "--data", "data", "--out", "out", *SHORT)
    assert result.code == 2
    assert said in result.err
    assert result.err.startswith("gcvit: error: ")
    assert "Traceback" not in result.err
    assert not Path("out").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_corrupt_image_in_the_middle_keeps_what_was_saved(gcvit: Command, folders: Path, workers: int) -> None:
    shutil.copytree(folders, "data")
    broken = Path("data/train/ring/0003.png")
    broken.write_bytes(broken.read_bytes()[:200])
    result = gcvit("train", "classify", "--data", "data", "--out", "out", "--workers", workers, *SHORT)
    assert result.code == 2
    assert str(broken) in result.err
    assert "Traceback" not in result.err
    assert Path("out/train.json").is_file()
    assert Path("out/log.jsonl").is_file()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda root: shutil.rmtree(root), "no such folder"),
        (lambda root: (root / "val" / "ring").rename(root / "val" / "wheel"), "wheel"),
        (lambda root: (root / "val" / "ring" / "0001.png").write_bytes(b""), "0001.png"),
    ],
)
def test_evaluation_refuses_it(
    gcvit: Command, folders: Path, run_folder: Path, damage: Callable[[Path], object], said: str
) -> None:
    shutil.copytree(folders, "data")
    damage(Path("data"))
    result = gcvit("eval", run_folder / "best", "--data", "data", "--device", "cpu")
    assert result.code == 2
    assert said in result.err
    assert "Traceback" not in result.err
    assert result.out == ""
