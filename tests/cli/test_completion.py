"""`gcvit completion`: what the shells propose is what the parsers know, without anything of ours at the prompt."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gcvit.cli.main import COMMANDS
from gcvit.tasks import TASKS

from .conftest import Command

ASK_BASH = """
source ./script
ask() {
  COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
  _shtab_gcvit
  echo "${COMPREPLY[@]}"
}
"""
ASK_FISH = "source ./script; for line in $argv; echo (complete -C $line | string replace -r '\\t.*' ''); end"


def ask(shell: str, *lines: str) -> list[list[str]]:
    """What the shell proposes at the end of each line, with the script and without gcvit or Python in reach."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"no {shell} here")
    if shell == "bash":
        ends = ("''" if line.endswith(" ") else "" for line in lines)  # an empty word
        asked = "\n".join([ASK_BASH, *(f"ask {line}{end}" for line, end in zip(lines, ends, strict=True))])
        words = [program, "--norc", "-c", asked]
    else:
        words = [program, "--no-config", "-c", ASK_FISH, *lines]
    reach = os.devnull if shell == "bash" else "/bin"  # fish lists files with ls
    found = subprocess.run(words, env={"PATH": reach, "HOME": "."}, capture_output=True, text=True, check=True)
    assert found.stderr == ""
    return [line.split() for line in found.stdout.splitlines()]


@pytest.fixture(params=["bash", "fish"])
def shell(gcvit: Command, request: pytest.FixtureRequest) -> str:
    """A shell whose script lies in the folder."""
    Path("script").write_text(gcvit("completion", request.param).out)
    return request.param


def test_words_are_proposed_where_they_belong(gcvit: Command, shell: str) -> None:
    Path("photos").mkdir()
    expected = {
        "gcvit ": {*(name.split()[0] for name in COMMANDS), "help", "version"},
        "gcvit tr": {"train"},
        "gcvit train ": {task.name for task in TASKS},
        "gcvit data ": {"shapes", "index"},
        **{f"gcvit train {task.name} ": set(task.recipes) for task in TASKS},
        "gcvit train classify imagenet_t": {"imagenet_tiny", "imagenet_tiny2"},
        "gcvit train classify quickstart --precision ": {"auto", "fp32", "bf16"},
        "gcvit train segment --au": {"--aux-channels", "--aux-weight"},
        "gcvit data shapes out --as ": {task.name for task in TASKS},
        "gcvit export run --to ": {"torch-export", "onnx", "openvino", "aot"},
        "gcvit eval photos --mode ": {"none", "whole", "slide"},
        "gcvit completion ": {"bash", "zsh", "fish"},
        "gcvit eval pho": {"photos"},
        "gcvit predict run pho": {"photos"},
        "gcvit train segment --data pho": {"photos"},
        "gcvit eval run --batch-size ": set(),
    }
    found = ask(shell, *expected)
    named = {line: {word.rstrip("/") for word in words} for line, words in zip(expected, found, strict=True)}
    assert named == expected


def test_flags_are_those_of_the_help(gcvit: Command) -> None:
    Path("script").write_text(gcvit("completion", "bash").out)
    names = [*(name for name in COMMANDS if name != "train"), *(f"train {task.name}" for task in TASKS)]
    for name, proposed in zip(names, ask("bash", *(f"gcvit {name} --" for name in names)), strict=True):
        said = gcvit(*name.split(), "--help").out
        shown = re.findall(r"^│ +(?:-h, )?(--[\w.-]+)", said, re.MULTILINE)
        assert set(shown) <= set(proposed), name
        assert all(flag in said for flag in proposed), name
        assert len(proposed) > (60 if "train" in name else 0)


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_a_script_is_one_for_its_shell(gcvit: Command, name: str) -> None:
    result = gcvit("completion", name)
    assert (result.code, result.err) == (0, "")
    assert "--arch.depths" in result.out
    assert result.out.isascii() or name != "bash"
    if program := shutil.which(name):
        Path("script").write_text(result.out)
        assert subprocess.run([program, "-n", "script"], check=False).returncode == 0


@pytest.mark.parametrize(("words", "said"), [([], "SHELL"), (["powershell"], "bash")])
def test_another_shell(gcvit: Command, words: list[str], said: str) -> None:
    result = gcvit("completion", *words)
    assert result.code == 2
    assert said in result.message
