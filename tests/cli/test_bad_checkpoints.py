"""What is not a checkpoint: every command that opens one says so in one message."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from .conftest import Command

WORDS = {"eval": [], "predict": ["picture.png"], "info": [], "export": ["--to", "torch-export"]}


class Hostile:
    """A pickle that leaves a file behind when it is loaded."""

    def __reduce__(self) -> tuple:
        return Path.touch, (Path("taken"),)


def a_text_file(best: Path) -> str:
    Path("bad.pth").write_text("these are not weights")
    return "bad.pth"


def an_empty_file(best: Path) -> str:
    Path("bad.pth").touch()
    return "bad.pth"


def a_truncated_safetensors(best: Path) -> str:
    Path("bad.safetensors").write_bytes((best / "model.safetensors").read_bytes()[:100_000])
    return "bad.safetensors"


def a_hostile_pickle(best: Path) -> str:
    Path("bad.pth").write_bytes(pickle.dumps({"state_dict": Hostile()}))
    return "bad.pth"


def a_folder_without_weights(best: Path) -> str:
    Path("bad").mkdir()
    return "bad"


def a_broken_configuration(best: Path) -> str:
    Path("bad").mkdir()
    Path("bad/config.json").write_text("{")
    return "bad"


def a_model_of_another_kind(best: Path) -> str:
    Path("bad").mkdir()
    Path("bad/config.json").write_text('{"architecture": "resnet50"}')
    Path("bad/model.safetensors").write_bytes((best / "model.safetensors").read_bytes())
    return "bad"


def an_absent_file(best: Path) -> str:
    return "./bad.safetensors"


@pytest.mark.parametrize("command", ["eval", "predict", "info", "export"])
@pytest.mark.parametrize(
    "make",
    [
        a_text_file,
        an_empty_file,
        a_truncated_safetensors,
        a_hostile_pickle,
        a_folder_without_weights,
        a_broken_configuration,
        a_model_of_another_kind,
        an_absent_file,
    ],
)
def test_it_is_refused(
    gcvit: Command, run_folder: Path, command: str, make: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    Image.new("RGB", (64, 64)).save("picture.png")
    source = make(run_folder / "best")
    result = gcvit(command, source, *WORDS[command])
    assert result.code == 2
    assert result.out == ""
    *progress, message = [line for line in result.err.splitlines() if not line.startswith("  ")]
    assert progress == (["opening " + source] if command == "export" else [])
    assert message.startswith("gcvit: error: ")
    assert "bad" in message
    assert "Traceback" not in result.err
    assert not Path("taken").exists()


@pytest.mark.parametrize("command", ["eval", "predict", "info", "export"])
def test_an_unknown_name_is_answered_with_a_near_one(gcvit: Command, command: str) -> None:
    Image.new("RGB", (64, 64)).save("picture.png")
    result = gcvit(command, "gcvit_tinny", *WORDS[command])
    assert result.code == 2
    assert "gcvit_tiny" in result.err


@pytest.mark.parametrize("command", [["eval"], ["predict"], ["info"], ["export", "--to", "onnx"]], ids=" ".join)
def test_weights_that_are_not_finite_give_no_answer(gcvit: Command, run_folder: Path, command: list[str]) -> None:
    shutil.copytree(run_folder / "best", "bad")
    state = load_file("bad/model.safetensors")
    state["head.bias"][1] = float("nan")
    save_file(state, "bad/model.safetensors")
    Image.new("RGB", (64, 64)).save("picture.png")
    result = gcvit(*command, "bad", *(["picture.png"] if command == ["predict"] else []))
    assert (result.code, result.out) == (2, "")
    assert "NaN or infinite values" in result.message
    assert "head.bias" in result.message
