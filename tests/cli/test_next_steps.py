"""Every command that is printed to be typed next works as it is printed, on the page of results too."""

import html
import re
import shlex
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from gcvit.tasks import TASKS

from .conftest import SHORT_RUNS, Command, Example, Fake

BRIEF = ["--size", "32", "--batch-sizes", "1", "--rounds", "2", "--turn-seconds", "0", "--device", "cpu"]
BUDGET = ["--size", "32", "--batch-size", "1", "--steps", "1", "--scale", "64", "--device", "cpu"]
FEW = ["--train", "20", "--val", "10"]
pytestmark = pytest.mark.usefixtures("without_charts")
PUBLISHED = ("gcvit_tiny",)  # needs a network, which tests have not


@pytest.fixture
def own(tmp_path: Path, folders: Path, segment_scenes: Path, detect_scenes: Path) -> Path:
    """What stands for a person's own files in such commands: photo.jpg, and data of every task."""
    Image.new("RGB", (80, 60), (90, 120, 40)).save(tmp_path / "photo.jpg")
    for name, data in (("classify", folders), ("segment", segment_scenes), ("detect", detect_scenes)):
        (tmp_path / f"OWN_{name}").symlink_to(data)
    return tmp_path


def quick(words: list[str], task: str) -> list[str]:
    """The command on a person's own files, in seconds: with further flags, but otherwise as it is printed."""
    words = [f"OWN_{task}" if word in ("YOUR_IMAGES", "IMAGENET") else word for word in words]
    if words[0] == "train" and words[-1] not in ("--list", "--help"):
        small = [] if "--data" in words else ["--train-images", "20", "--val-images", "10"]
        batch = [] if "--weights" in words else SHORT_RUNS[words[1]]
        return [*words, *small, *batch, *(["--batch-size", "1"] if words[1] == "segment" else [])]
    return words + {"bench speed": BRIEF, "bench budget": BUDGET, "data shapes": FEW}.get(" ".join(words[:2]), [])


def failures(gcvit: Command, commands: list[list[str]], task: str) -> list[str]:
    """What is wrong with the commands, run in turn."""
    assert commands
    found = []
    for words in commands:
        if words[1] not in PUBLISHED:
            result = gcvit(*quick(words, task))
            if result.code not in ((0, 1) if words[0] == "doctor" else (0,)):
                found.append(f"{shlex.join(words)}: {result.message}")
    return found


def on_the_page(page: Path) -> list[list[str]]:
    """The commands on a page of results."""
    (block,) = re.findall("<pre>(.*?)</pre>", page.read_text("utf8"), re.DOTALL)
    lines = [line for line in html.unescape(block).splitlines() if not line.startswith("#")]
    words = [shlex.split(line) for line in lines]
    return [line[min(at for at, word in enumerate(line) if word.endswith("gcvit")) + 1 :] for line in words]


def test_after_training_on_built_in_pictures(gcvit: Command, own: Path, example: Example) -> None:
    counts = ["--train-images", "20", "--val-images", "10", *SHORT_RUNS[example.task]]
    result = gcvit("train", example.task, "--out", "a run", *counts)
    assert failures(gcvit, result.next, example.task) == []
    assert failures(gcvit, on_the_page(Path("a run/report.html")), example.task) == []


def test_after_training_on_ones_own(gcvit: Command, own: Path, example: Example) -> None:
    words = ["--data", f"OWN_{example.task}", *SHORT_RUNS[example.task], "--batch-size", "1"]
    result = gcvit("train", example.task, "--out", "run", *words)
    assert failures(gcvit, result.next, example.task) == []


def test_after_measuring(gcvit: Command, own: Path, example: Example) -> None:
    for models in ([example.run], [example.run, example.run / "last"]):
        result = gcvit("eval", *models, "--out", "measured", "--device", "cpu")
        assert failures(gcvit, result.next, example.task) == []
    (page, *_) = Path("measured").glob("**/report.html")
    assert failures(gcvit, on_the_page(page), example.task) == []


def test_after_predicting(gcvit: Command, own: Path, example: Example) -> None:
    Path("with space.jpg").symlink_to("photo.jpg")
    for words in (["photo.jpg"], ["with space.jpg", "--out", "an answer"]):
        assert failures(gcvit, gcvit("predict", example.run, *words).next, example.task) == []


def test_after_info_and_export(gcvit: Command, fake: Fake, own: Path, example: Example) -> None:
    (own / "alone").symlink_to(example.run / "best")
    *others, export = gcvit("info", example.run).next
    assert failures(gcvit, [*others, *gcvit("info", "alone").next[:-1]], example.task) == []
    exported = gcvit(*export)
    assert failures(gcvit, exported.next, example.task) == []
    (file,) = Path("exported").glob("*.onnx")
    for words in (["info", file], ["predict", file, "photo.jpg"], ["eval", file]):
        assert failures(gcvit, gcvit(*words).next, example.task) == []


@pytest.mark.parametrize("words", [["info"], ["info", "gcvit_pico"], ["info", "gcvit_tiny"]], ids=" ".join)
def test_after_the_list_of_models(gcvit: Command, own: Path, words: list[str]) -> None:
    assert failures(gcvit, gcvit(*words).next, "classify") == []


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_after_writing_pictures(gcvit: Command, own: Path, task: object) -> None:
    name = task.name  # type: ignore[attr-defined]
    assert failures(gcvit, gcvit("data", "shapes", "shapes", "--as", name, *FEW, "--size", "48").next, name) == []


def test_after_an_index(gcvit: Command, own: Path) -> None:
    Path("tars").mkdir()
    for part in ("train", "val"):
        with tarfile.open(f"tars/{part}.tar", "w") as tar:
            tar.add(f"OWN_classify/{part}", part)
    assert failures(gcvit, gcvit("data", "index", "tars").next, "classify") == []


def test_after_the_help_of_train_and_a_budget(gcvit: Command, own: Path) -> None:
    assert failures(gcvit, gcvit("train", "--help").next, "classify") == []
    assert failures(gcvit, gcvit("bench", "budget", "gcvit_pico", *BUDGET).next, "classify") == []
    speed = gcvit("bench", "speed", "--models", "gcvit_pico", *BRIEF)
    assert [words[:2] for words in speed.next] == [["bench", "speed"], ["bench", "speed"], ["bench", "budget"]]
