"""What is printed to be typed next works as it is, whichever way gcvit was called; only what is ours is installed."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcvit import shell
from gcvit.cli.main import COMMANDS
from gcvit.wording import harmless, is_harmless

ROOT = Path(__file__).parents[1]
COMMAND = ["gcvit", "predict", "a run/best"]


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment's folder of programs, .venv/bin below the current folder, that is not active."""
    monkeypatch.chdir(tmp_path)
    programs = Path(".venv/bin")
    add_programs(programs)
    monkeypatch.setattr(sys, "executable", str(tmp_path / programs / "python"))
    monkeypatch.setattr(sys, "argv", [str(programs / "gcvit")])
    monkeypatch.setenv("PATH", "/nowhere")
    return tmp_path / programs


def add_programs(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in ("gcvit", "python"):
        (folder / name).touch(0o755)


def test_an_environment_that_is_not_active(environment: Path) -> None:
    assert shell.typed(COMMAND) == ".venv/bin/gcvit predict 'a run/best'"
    assert shell.typed(["python", "x.py"]) == f"{environment}/python x.py"
    assert shell.typed(["torchrun", 3]) == "torchrun 3"


def test_an_active_environment(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(environment))
    for called in (environment / "gcvit", ".venv/bin/gcvit", "/lib/gcvit/__main__.py", "-c"):
        monkeypatch.setattr(sys, "argv", [str(called)])
        assert shell.typed(COMMAND) == "gcvit predict 'a run/best'"
    assert shell.typed(["python", "x.py"]) == "python x.py"


def test_another_gcvit_on_the_path(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_programs(Path("other"))
    monkeypatch.setenv("PATH", str(Path("other").resolve()))
    assert shell.typed(COMMAND) == ".venv/bin/gcvit predict 'a run/best'"
    assert shell.typed(["python", "x.py"]) == f"{environment}/python x.py"
    (Path("other") / "gcvit").unlink()
    (Path("other") / "gcvit").symlink_to(environment / "gcvit")  # as pipx makes it
    assert shell.typed(COMMAND) == "gcvit predict 'a run/best'"


@pytest.mark.parametrize("called", ["/lib/gcvit/__main__.py", "-c", "", "/bin/pytest", "gone/gcvit"])
def test_called_through_python(environment: Path, monkeypatch: pytest.MonkeyPatch, called: str) -> None:
    monkeypatch.setattr(sys, "argv", [called])
    assert shell.typed(COMMAND) == f"{environment}/python -m gcvit predict 'a run/best'"


def test_the_line_works_as_printed(tmp_path: Path) -> None:
    """The overview's, whose program is then called for its version."""
    script = tmp_path / "my bin" / "gcvit"  # as pip writes it
    script.parent.mkdir()
    script.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'import sys\nfrom gcvit.cli.main import main\n"
                      'sys.argv[0] = "\'"$0"\'"\nmain()\' "$@"\n')  # fmt: skip
    script.chmod(0o755)
    elsewhere = {**os.environ, "PATH": "/usr/bin:/bin", "PYTHONPATH": os.pathsep.join(sys.path)}
    for program in ([sys.executable, "-m", "gcvit"], ["my bin/gcvit"]):
        overview = subprocess.run(program, capture_output=True, text=True, check=True, env=elsewhere, cwd=tmp_path)
        (line,) = re.findall(r"^  (.*) train classify$", overview.stdout.split("Start with")[1], re.MULTILINE)
        assert shlex.split(line) == program
        said = subprocess.check_output(f"{line} --version", shell=True, text=True, env=elsewhere, cwd=tmp_path)
        assert said.startswith("gcvit 0.")


def test_only_our_own_distribution_is_named() -> None:
    """`gcvit` on the package index is another project's: everything is installed from the checkout."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]
    assert project["name"] == "gcvit-torch"
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").iterdir()]
    extras = set()
    for file in [*pages, *(ROOT / "src").rglob("*.py")]:
        text = file.read_text("utf8")
        wrong = r"\bgcvit\[|install\b[^\n`&]* ['\"]?gcvit(?![-\w])|[vV]ersion\(['\"]gcvit"
        assert re.findall(wrong, text) == [], file
        extras |= set(re.findall(r"['\"]\.\[(\w+)\]|install\(['\"](\w+)['\"]\)", text))
    named = {name for pair in extras for name in pair if name}
    assert {"export", "imagenet", "interop", "tensorboard", "test"} <= named
    assert named <= set(project["optional-dependencies"])
    assert re.search(r"'\.\[export\]'$", shell.install("export"))


# Of bytes, as on Linux, of letters that look like each other, and of what a shell and a terminal obey.
NAMES = st.one_of(
    st.binary(min_size=1, max_size=12).map(lambda name: name.replace(b"\0", b"0").decode("utf-8", "surrogateescape")),
    st.text("-./ '\"\\$`!*?~#&;|<>(){}[]\n\t\a\x1b\u202e\u200fé=a1", min_size=1, max_size=12),
)


@given(names=st.lists(NAMES, min_size=1, max_size=3))
def test_a_printed_command_has_the_words_that_are_meant(names: list[str]) -> None:
    """Whatever names there are: a shell reads them as they are, a terminal obeys none, and a path is never a flag."""
    printed = shell.typed(["printf", "%s\\0", *map(Path, names), *(f"x{name}" for name in names)])
    assert is_harmless(printed)
    read = subprocess.run(["bash", "-c", printed], stdout=subprocess.PIPE, check=True).stdout.split(b"\0")[:-1]
    paths = [str(Path(name)) for name in names]
    meant = [f"./{path}" if path.startswith("-") else path for path in paths] + [f"x{name}" for name in names]
    assert read == list(map(os.fsencode, meant))


def test_verbs_are_those_of_the_commands() -> None:
    assert set(shell.VERBS) == {name.split()[0] for name in COMMANDS}


def test_commands_in_a_text_are_written_as_they_can_be_typed(environment: Path) -> None:
    for text, expected in {
        "type `gcvit info`, or gcvit train classify": "type `.venv/bin/gcvit info`, or .venv/bin/gcvit train classify",
        "torchrun -m gcvit train classify": "torchrun -m gcvit train classify",
        ".venv/bin/gcvit info, my-gcvit info, gcvit-runs/x": ".venv/bin/gcvit info, my-gcvit info, gcvit-runs/x",
        "this version of gcvit. Gcvit, gcvit": "this version of gcvit. Gcvit, gcvit",
        "the folder that gcvit was installed from, this gcvit reads 1": (
            "the folder that gcvit was installed from, this gcvit reads 1"
        ),
        "gcvit bench speed; gcvit trains": ".venv/bin/gcvit bench speed; gcvit trains",
        "`gcvit --help`": "`.venv/bin/gcvit --help`",
    }.items():
        assert shell.as_typed(text) == expected
        assert shell.as_typed(harmless(expected)) == expected
