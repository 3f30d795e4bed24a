"""runs/gpu.sh: what it would type on a GPU parses, and a part that fails keeps no other from running."""

import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch

from gcvit.bench.contenders import parse as contender
from gcvit.cli import train
from gcvit.cli.arguments import parse
from gcvit.cli.bench_budget import Arguments
from gcvit.cli.bench_speed import Speed
from gcvit.tasks.config import RunConfig

SCRIPT = Path(__file__).parents[2] / "runs" / "gpu.sh"

# Stands for Python: notes what it is asked to run, and fails where the second argument says so.
PYTHON = """#!/bin/bash
printf '%s\\t' "$@" >> {calls}; echo >> {calls}
previous=
for word in "$@"; do
    if [ "$previous" = --out ] && [ "$4" = classify ]; then mkdir -p "$word"; touch "$word/report.html"; fi
    previous=$word
done
[[ " $* " != *"{failing}"* ]]
"""


class Parsed(Exception):
    """In the place of training."""


def settings_of(argv: list[str], monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    """What the command would train with."""

    def note(task: Any, config: RunConfig, *_: Any, **__: Any) -> None:
        raise Parsed(config)

    monkeypatch.setattr("gcvit.tasks.train.train", note)
    with pytest.raises(Parsed) as caught:
        train.run(argv)
    return caught.value.args[0]


def calls(tmp_path: Path, call: str, failing: str = "nothing") -> tuple[int, list[list[str]]]:
    """Exit code of the script, and the words of each call of Python."""
    notes, python = tmp_path / "calls", tmp_path / "python"
    python.write_text(PYTHON.format(calls=notes, failing=failing))
    python.chmod(0o755)
    settings = {"PYTHON": str(python), "OUT": str(tmp_path / "out"), "PATH": "/usr/bin:/bin"}
    result = subprocess.run(["bash", SCRIPT, call], capture_output=True, text=True, check=False, env=settings)
    return result.returncode, [line.split("\t")[:-1] for line in notes.read_text("utf8").splitlines()]


@pytest.mark.parametrize(("call", "parts"), [("correctness", 6), ("speed", 4), ("train", 5)])
def test_every_line_parses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, parts: int) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    code, found = calls(tmp_path, call)
    assert code == 0
    read = 0
    for words in found:
        match words:
            case ["-m", "gcvit", "bench", "speed", *rest]:
                assert parse(Speed, "bench speed", rest).settings.device == "cuda"
            case ["-m", "gcvit", "bench", "budget", *rest]:
                arguments = parse(Arguments, "bench budget", rest)
                assert arguments.settings.device == "cuda"
                contender(arguments.model)
            case ["-m", "gcvit", "train", "classify", *rest]:
                assert settings_of(["classify", *rest], monkeypatch).device == "cuda"
            case _:
                continue
        read += 1
    assert read >= parts - 2  # what is left are pytest and scripts in runs/
    with tarfile.open(tmp_path / "out" / f"{call}.tar.gz") as archive:
        assert f"{call}/summary.txt" in archive.getnames()
    summary = (tmp_path / "out" / f"{call}.txt").read_text("utf8")
    assert summary.count("code   0") == parts


def test_a_part_that_fails_stops_no_other(tmp_path: Path) -> None:
    assert calls(tmp_path, "correctness", failing="pytest")[0] == 1
    summary = (tmp_path / "out" / "correctness.txt").read_text("utf8")
    assert summary.count("code   1") == 1
    assert summary.count("code   0") == 5


def test_it_says_how_it_is_called() -> None:
    result = subprocess.run(["bash", SCRIPT, "all"], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "correctness | speed | train" in result.stderr
