"""A run's best/ and last/ are what the run has saved, or no command takes them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import gcvit as package
from gcvit.errors import UserError
from gcvit.factory import create_model

from .conftest import Command, Example

WORDS = {"eval": [], "predict": ["picture.png"], "info": [], "export": ["--to", "torch-export"]}


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-9] ^= 1  # of a weight, or of a digit: it can still be read
    file.write_bytes(content)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-40])


def put_in_place_of_another(file: Path) -> None:
    other = file.parent.parent / {"best": "last", "last": "best"}[file.parent.name] / file.name
    file.write_bytes(other.read_bytes() + b" ")


DAMAGES = [flipped, cut, put_in_place_of_another, Path.unlink]


@pytest.fixture
def run(example: Example, tmp_path: Path) -> Path:
    """A copy that can be damaged."""
    return Path(shutil.copytree(example.run, tmp_path / "run"))


@pytest.mark.parametrize("name", ["best", "last"])
@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_refused_however_it_is_called(
    run: Path, name: str, file: str, damage: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(run / name / file)
    ways = [run / name, *([run] if name == "best" else []), *([run / name / file] if file.endswith("tensors") else [])]
    for way in ways:
        if way.exists():
            with pytest.raises(UserError, match=rf"{name}/{file}.* (is missing|damaged).*copy"):
                package.open(way)
    package.open(run / {"best": "last", "last": "best"}[name])
    monkeypatch.chdir(run / name)
    with pytest.raises(UserError, match=file):
        package.open(".")


@pytest.mark.parametrize("command", WORDS)
def test_every_command_says_so(gcvit: Command, run_folder: Path, command: str) -> None:
    shutil.copytree(run_folder, "run")
    Path("picture.png").touch()
    flipped(Path("run/best/model.safetensors"))
    ended = gcvit(command, "run", *WORDS[command])
    assert ended.code == 2
    assert "run/best/model.safetensors: damaged" in ended.message
    assert "Traceback" not in ended.err
    assert gcvit("train", "classify", "--weights", "run").message in ended.message


def test_weights_taken_from_a_damaged_run_are_refused(run_folder: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(run_folder, tmp_path / "run"))
    flipped(run / "best" / "model.safetensors")
    model = create_model("gcvit_pico", num_classes=10)
    with pytest.raises(UserError, match="damaged"):
        package.load_weights(model, run)


def test_the_advice_helps(gcvit: Command, run_folder: Path) -> None:
    """The run's own command makes the weights again."""
    shutil.copytree(run_folder, "run")
    file = Path("run/best/model.safetensors")
    flipped(file)
    assert "with --out run" in gcvit("info", "run").message
    assert gcvit("train", "classify", "--config", "run/train.json", "--out", "run").code == 0
    assert gcvit("info", "run").code == 0


def test_a_copy_away_from_its_run_opens(run_folder: Path, tmp_path: Path) -> None:
    """As do the weights of a run whose checkpoints, which are large, were removed or cannot be read any more."""
    copy = Path(shutil.copytree(run_folder / "best", tmp_path / "best"))
    flipped(copy / "model.safetensors")
    package.open(copy)
    run = Path(shutil.copytree(run_folder, tmp_path / "run"))
    flipped(run / "best" / "model.safetensors")
    for meta in run.glob("checkpoints/*/meta.json"):
        flipped(meta)
    package.open(run)
    shutil.rmtree(run / "checkpoints")
    package.open(run)


def test_a_run_that_was_stopped_between_recording_and_writing_opens(run_folder: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(run_folder, tmp_path / "run"))
    (run / ".writing" / "best").mkdir(parents=True)
    file = run / "best" / "model.safetensors"
    shutil.copy(file, run / ".writing" / "best")
    flipped(file)
    package.open(run)
