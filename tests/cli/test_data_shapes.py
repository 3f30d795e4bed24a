"""`gcvit data shapes`: the built-in pictures as each task's folders."""

from pathlib import Path

import pytest
from PIL import Image

from gcvit.data.scenes import SCENE_CLASSES
from gcvit.tasks import TASKS

from .conftest import Command


def test_class_folders(gcvit: Command) -> None:
    result = gcvit("data", "shapes", "out", "--train", "20", "--val", "10", "--size", "48")
    assert (result.code, result.err) == (0, "")
    assert "out: 20 images to train on, 10 held out" in result.out
    assert len(list(Path("out/train").glob("*/*.png"))) == 20
    assert len(list(Path("out/val").glob("*/*.png"))) == 10
    assert result.next == [["doctor", "out"], ["train", "classify", "--data", "out"]]


def test_folders_for_segmentation(gcvit: Command) -> None:
    result = gcvit("data", "shapes", "out", "--as", "segment", "--train", 3, "--val", 2, "--size", 96)
    assert (result.code, result.err) == (0, "")
    assert "out: 3 images to train on, 2 held out" in result.out
    assert result.next == [["doctor", "out"], ["train", "segment", "--data", "out"]]
    other = gcvit("data", "shapes", "other", "--as", "segment", "--train", 1, "--val", 1, "--size", 48)
    assert other.next[1] == ["train", "segment", "--data", "other", "--crop", "48", "48"]
    for kind in ("images", "annotations"):
        for part, count in (("training", 3), ("validation", 2)):
            files = list(Path("out", kind, part).glob("*.png"))
            assert len(files) == count
            with Image.open(files[0]) as image:
                assert image.size == (96, 96)
    assert Path("out/classes.txt").read_text("utf8").split() == list(SCENE_CLASSES)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["out", "--sise", "3"], "--size"),
        (["out", "--size", "31"], "--size must be at least 32, not 31"),
        (["out", "--as", "segment", "--size", "31"], "--size must be at least 32, not 31"),
        (["out", "--val", "3"], "at least one picture per class"),
        (["out", "--as", "segment", "--val", "0"], "--val must be at least 1, not 0"),
        (["out", "--as", "segmint"], "--as: there is no task 'segmint'; did you mean segment?"),
        (["full"], "not empty"),
        (["/proc/nothing/out"], "/proc/nothing: no results can be written there"),
        (["full", "--as", "segment"], "not empty"),
    ],
)
def test_mistakes(gcvit: Command, words: list[str], said: str) -> None:
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    result = gcvit("data", "shapes", *words)
    assert (result.code, result.out) == (2, "")
    assert said in result.message
    assert sorted(Path().rglob("*")) == [Path("full"), Path("full/mine.txt")]


def test_help_names_every_task(gcvit: Command) -> None:
    said = " ".join(gcvit("data", "shapes", "--help").out.replace("│", " ").split())
    assert all(f"{task.name}: " in said for task in TASKS)
