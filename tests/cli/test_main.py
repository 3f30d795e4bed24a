"""The entry: finding the verb, and what becomes of errors, Ctrl-C and closed pipes."""

import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

from gcvit.cli import main as entry
from gcvit.weights.catalogue import LicenceNotice

from .conftest import Command


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_the_overview_names_every_command_and_the_first_to_type(gcvit: Command, words: list[str]) -> None:
    result = gcvit(*words)
    assert result.code == 0
    assert all(f"gcvit {name}" in result.out for name in entry.COMMANDS)
    assert "Start with" in result.out
    assert all(len(line) <= 80 for line in result.out.splitlines())


@pytest.mark.parametrize("name", entry.COMMANDS)
def test_every_command_explains_itself(gcvit: Command, name: str) -> None:
    result = gcvit(*name.split(), "--help")
    assert result.code == 0
    assert f"gcvit {name}" in result.out
    undocumented = [line for line in result.out.splitlines() if line.strip("│ ").endswith("(required)│")]
    assert not undocumented


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian"], "did you mean `gcvit train`"),
        (["train"], "gcvit train classify"),
        (["train", "clasify"], "did you mean `gcvit train classify`"),
        (["data", "shape"], "did you mean `gcvit data shapes`"),
        (["xyzzy"], "lists the commands"),
        (["data", "shapes"], "required"),
        (["data", "shapes", "out", "--sise", "3"], "--size"),
        (["data", "shapes", "out", "--size", "31"], "32"),
        (["data", "shapes", "out", "--val", "3"], "at least one picture per class"),
        (["data", "shapes", "full"], "not empty"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(gcvit: Command, words: list[str], said: str) -> None:
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    result = gcvit(*words)
    assert result.code == 2
    assert said in result.err
    assert result.out == ""
    assert sorted(Path().rglob("*")) == [Path("full"), Path("full/mine.txt")]


def test_data_shapes_writes_class_folders(gcvit: Command) -> None:
    result = gcvit("data", "shapes", "out", "--train", "20", "--val", "10", "--size", "48")
    assert result.code == 0, result.err
    assert len(list(Path("out/train").glob("*/*.png"))) == 20
    assert len(list(Path("out/val").glob("*/*.png"))) == 10
    assert "gcvit train classify --data out" in result.out


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ValueError("the window is too large"), 2, "gcvit: error: the window is too large\n"),
        (PermissionError(13, "Permission denied", "x/y"), 2, "gcvit: error: x/y: Permission denied\n"),
        (OSError(28, "No space left on device"), 2, "gcvit: error: [Errno 28] No space left on device\n"),
        (KeyboardInterrupt("best/ holds epoch 3."), 130, "\ngcvit: stopped. best/ holds epoch 3.\n"),
    ],
)
def test_errors(gcvit: Command, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str) -> None:
    def run(argv: list[str]) -> None:
        raise error

    monkeypatch.setattr(entry, "import_module", lambda name: SimpleNamespace(run=run))
    result = gcvit("info")
    assert (result.code, result.err) == (code, said)


def test_a_licence_is_told_without_a_place_in_the_source(gcvit: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(argv: list[str]) -> None:
        warnings.warn("non-commercial use only", LicenceNotice, stacklevel=1)

    monkeypatch.setattr(entry, "import_module", lambda name: SimpleNamespace(run=run))
    assert gcvit("info").err == "gcvit: note: non-commercial use only\n"


@pytest.mark.parametrize("bug", [KeyError("x"), RuntimeError("shapes differ"), AssertionError()])
def test_our_own_bugs_keep_their_traceback(gcvit: Command, monkeypatch: pytest.MonkeyPatch, bug: Exception) -> None:
    def run(argv: list[str]) -> None:
        raise bug

    monkeypatch.setattr(entry, "import_module", lambda name: SimpleNamespace(run=run))
    with pytest.raises(type(bug)):
        gcvit("info")


def test_the_real_entry() -> None:
    """In processes of their own: a user's mistake, and a reader that goes away as `| true` does."""
    script = "from gcvit.cli.main import main; main()"  # what pip's console script runs
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with (
        subprocess.Popen([sys.executable, "-c", script, "train", "clasify"], **pipes) as mistake,
        subprocess.Popen([sys.executable, "-m", "gcvit"], **pipes) as unread,
    ):
        assert unread.stdout is not None
        unread.stdout.close()  # before a line is printed
        unread.stdout = None
        _, silence = unread.communicate(timeout=60)
        out, message = mistake.communicate(timeout=60)
    assert (unread.returncode, silence) == (1, "")
    assert (mistake.returncode, out) == (2, "")
    assert message.startswith("gcvit: error: ")
    assert message.count("\n") == 1
