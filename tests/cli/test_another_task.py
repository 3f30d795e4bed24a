"""A task that somebody adds – one file and one line in a list – does all that ours do, by the same commands."""

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import gcvit as package
from apart import Apart, ranks
from faults.killing import same_bits
from gcvit.tasks import TASKS
from gcvit.tasks.train import train
from tasks import toy_worker
from tasks.toy_task import TOY, LocateConfig, Located

from .conftest import Command, Fake

CPU = ["--device", "cpu"]
pytestmark = pytest.mark.usefixtures("without_charts")


@pytest.fixture(autouse=True)
def _added() -> Iterator[None]:
    TASKS.append(TOY)
    yield
    TASKS.remove(TOY)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing stopped."""
    return train(TOY, LocateConfig(device="cpu"), tmp_path_factory.mktemp("toy") / "run").out


def test_it_is_short() -> None:
    assert len(Path(sys.modules[type(TOY).__module__].__file__ or "").read_text().splitlines()) <= 150


def test_every_command_knows_it(gcvit: Command, fake: Fake) -> None:
    assert "finds the middle of a shape" in gcvit("train", "--help").out
    assert "The built-in shapes" in gcvit("train", "locate", "--list").out
    assert "--flip " in gcvit("train", "locate", "--help").out
    assert "locate" in gcvit("completion", "bash").out

    trained = gcvit("train", "locate", "--out", "run", *CPU)
    assert trained.code == 0, trained.err
    assert "12 held-out images" in trained.out
    assert "near  " in trained.out
    assert "0.48 M parameters\n" in trained.err
    assert trained.next == [["eval", "run"], ["predict", "run", "photo.jpg"]]
    assert {"report.html", "curves.png", "best", "last"} <= {path.name for path in Path("run").iterdir()}
    assert "<title>gcvit_pico on the built-in shapes</title>" in Path("run/report.html").read_text()
    *_, end = map(json.loads, Path("run/log.jsonl").read_text().splitlines())

    measured = gcvit("eval", "run", "--json", "--out", "measured", *CPU)
    assert measured.code == 0, measured.err
    found = json.loads(measured.out)
    assert (found["near"], found["images"], found["task"]) == (end["near"], 12, "locate")
    assert json.loads(Path("measured/metrics.json").read_text()) == found
    assert "near" in gcvit("eval", "run", "run/last", *CPU).out

    Image.new("RGB", (50, 40)).save("photo.jpg")
    Path("empty.jpg").touch()
    told = gcvit("predict", "run", "photo.jpg", "empty.jpg", "--json", *CPU)
    answer, failure = map(json.loads, told.out.splitlines())
    assert 0 < len(answer["middle"]) == 2
    assert "empty.jpg" in failure["error"]
    with Image.open(json.loads(Path("predicted/photo.json").read_text())["drawn"]) as drawn:
        assert drawn.size == (50, 40)
    assert "from the left" in gcvit("predict", "run", "photo.jpg", *CPU).out

    described = gcvit("info", "run").out
    assert "locate: finds the middle of a shape" in described
    assert "the middle, as shares of width and height" in described

    exported = gcvit("export", "run", "--to", "onnx")
    assert exported.code == 0, exported.err
    (file,) = Path("exported").glob("*.onnx")
    assert "locate" in gcvit("info", file).out
    (again,) = map(json.loads, gcvit("predict", file, "photo.jpg", "--json", "--out", "again").out.splitlines())
    assert again["middle"] == pytest.approx(answer["middle"], abs=1e-5)
    assert json.loads(gcvit("eval", file, "--json").out)["images"] == 12


def test_from_python_the_same(whole: Path) -> None:
    opened = package.open(whole)
    picture = Image.new("RGB", (32, 32))
    answer = opened.predict(picture, device="cpu")
    assert isinstance(answer, Located)
    assert answer.to_dict() == {"file": None, "middle": list(answer.middle)}
    assert answer.draw().size == (32, 32)
    assert [a.middle for a in opened.predict([picture] * 3, device="cpu")] == [pytest.approx(answer.middle)] * 3


def test_killed_it_goes_on_exactly(gcvit: Command, whole: Path) -> None:
    run = ["train", "locate", "--out", str(Path("run").absolute()), *CPU, "--checkpoint-minutes", "0"]
    assert Apart(toy_worker.run, 4, *run).done().returncode == -signal.SIGKILL
    again = gcvit(*run)
    assert again.code == 0, again.err
    assert "going on from step 3 of 6" in again.err
    assert same_bits(Path("run"), whole)


def test_two_processes_measure_what_one_does(gcvit: Command, whole: Path) -> None:
    command = ["eval", str(whole), "--batch-size", "1", "--json", *CPU]
    first, second = (rank.done() for rank in ranks(2, toy_worker.run, 0, *command))
    assert (first.returncode, second.returncode, second.stdout) == (0, 0, "")
    found, alone = json.loads(first.stdout), json.loads(gcvit(*command).out)
    assert found | {"images_per_second": 0} == alone | {"images_per_second": 0}
