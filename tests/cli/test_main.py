"""The entry: finding the verb, and what becomes of errors, Ctrl-C and closed pipes."""

import os
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

import gcvit as package
from gcvit.cli import main as entry
from gcvit.errors import UserError
from gcvit.weights.catalogue import LicenceNotice

from .conftest import Command


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_the_overview_names_every_command_and_the_first_to_type(gcvit: Command, words: list[str]) -> None:
    result = gcvit(*words)
    assert result.code == 0
    assert all(f"gcvit {name}" in result.out for name in entry.COMMANDS)
    assert "Start with" in result.out
    assert all(len(line) <= 80 for line in result.out.splitlines())


def test_help_about_some_commands(gcvit: Command) -> None:
    listed = gcvit("bench", "--help")
    assert listed.code == 0
    assert listed.out.count("gcvit bench ") == sum(name.startswith("bench ") for name in entry.COMMANDS)
    assert gcvit("help", "predict").out == gcvit("--help", "predict").out == gcvit("predict", "--help").out


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
        (["train", "clasify"], "did you mean classify?"),
        (["data", "shape"], "did you mean `gcvit data shapes`"),
        (["xyzzy"], "lists the commands"),
        (["data", "shapes"], "missing: OUT; "),
        (["export"], "missing: MODEL, --to {torch-export,onnx,openvino,aot}; "),
        (["train", "classify", "--epoc", "3"], "there is no --epoc, 3 (did you mean --epochs?); "),
        (["train", "classify", "--seed", "3.5"], "--seed: '3.5' is no whole number; "),
        (["train", "classify", "--epochs", "x"], "--epochs: 'x' is no {None}|INT; "),
        (["train", "classify", "--arch.depths", "2", "2"], "--arch.depths: '2', '2' is no {None}|{INT INT INT INT}; "),
        (["train", "classify", "--precision", "fp8"], "--precision: 'fp8' is none of 'auto', 'fp32', 'bf16'; "),
        (["train", "classify", "--out"], "--out: its value is missing; "),
        (["bench", "claims", "--lr", "x"], "--lr: 'x' is no number; "),
        (["bench", "claims", "--arms"], "error: --arms must be at least one"),
        (["bench", "claims", "--lr", "-1"], "error: lr must be above 0"),
        (["bench", "complexity", "--sizes", "8", "64", "96"], "error: sizes must be at least 32"),
        (["train", "classify", "--arch.dim", "0"], "error: dim must be"),
        (["bench", "speed", "--models"], "--models: its value is missing"),
        (["tables", "--runs"], "--runs: its value is missing"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(gcvit: Command, words: list[str], said: str) -> None:
    result = gcvit(*words)
    assert result.code == 2
    assert said in result.err
    assert result.err.count("\n") == 1
    assert result.out == ""
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("name", entry.COMMANDS)
def test_what_no_command_has_is_one_line(gcvit: Command, name: str) -> None:
    result = gcvit(*name.split(), "--nonsense")
    assert result.code == 2
    assert result.err.startswith("gcvit: error: ")
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("word", ["version", "--version"])
def test_the_version(gcvit: Command, word: str) -> None:
    assert gcvit(word).out == f"gcvit {package.__version__}\n"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("the window is too large"), 2, "gcvit: error: the window is too large\n"),
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


@pytest.mark.parametrize(
    "error",
    [
        *(
            ValueError("axes do not match"),
            KeyError("miou"),
            IndexError("3"),
            RuntimeError("shapes"),
            TypeError("None"),
        ),
        *(AssertionError("not reached"), FileNotFoundError(2, "No such file or directory", "made/by/us")),
    ],
)
def test_a_mistake_of_ours_does_not_look_like_the_users(
    gcvit: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def run(argv: list[str]) -> None:
        raise error

    monkeypatch.setattr(entry, "import_module", lambda name: SimpleNamespace(run=run))
    with pytest.raises(type(error)) as raised:
        gcvit("info")
    assert raised.value is error
    assert "mistake of ours" in capsys.readouterr().err


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


@pytest.mark.parametrize(
    ("variables", "before", "expected"),
    [
        ({}, "", "1000"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "", "None"),
        ({"OMP_NUM_THREADS": "2"}, "", "None"),
        ({"KMP_BLOCKTIME": "0"}, "", "None"),
        ({"GOMP_SPINCOUNT": "7"}, "", "7"),
        ({}, "import types; sys.modules['torch'] = types.ModuleType('torch')", "None"),  # it would come too late
    ],
)
def test_threads_do_not_wait_long_unless_the_user_says_so(
    variables: dict[str, str], before: str, expected: str
) -> None:
    script = f"import os, sys\n{before}\nfrom gcvit.cli.main import main\nmain(['--version'])\n"
    script += "print(os.environ.get('GOMP_SPINCOUNT'))"
    rest = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "KMP_", "MKL_"))}
    said = subprocess.check_output([sys.executable, "-c", script], text=True, env=rest | variables)
    assert said.split()[-1] == expected


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
