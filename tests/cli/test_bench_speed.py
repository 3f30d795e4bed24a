"""`gcvit bench speed`: the table and the JSON object of a very short measurement."""

import json
from pathlib import Path

import pytest

from .conftest import Command

BRIEF = ["--size", "64", "--batch-sizes", "2", "--rounds", "2", "--turn-seconds", "0", "--device", "cpu"]


def test_the_table(gcvit: Command) -> None:
    result = gcvit("bench", "speed", "--models", "gcvit_pico", "gcvit_pico:folded", *BRIEF)
    assert result.code == 0, result.err
    assert "gcvit_pico:folded" in result.out
    assert "inference at 64×64 px, fp32, 2 turns each" in result.out
    assert "Next:" in result.out
    shown = result.out[result.out.index("batch  ") : result.out.index("Next:")]
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert "warming up gcvit_pico" in result.err


def test_json_holds_every_turn(gcvit: Command) -> None:
    result = gcvit("bench", "speed", "--models", "gcvit_pico", "--mode", "train", "--json", *BRIEF)
    assert result.code == 0, result.err
    found = json.loads(result.out)
    (row,) = found["rows"]
    assert len(row["turns_ms"]) == 2
    assert found["settings"]["mode"] == "train"


def test_files(gcvit: Command, tmp_path: Path) -> None:
    result = gcvit("bench", "speed", "--models", "gcvit_pico", "--out", tmp_path / "speed", *BRIEF)
    assert result.code == 0, result.err
    for name in ("results.json", "results.md", "speed.png"):
        assert (tmp_path / "speed" / name).is_file()
        assert f"written: {tmp_path / 'speed' / name}" in result.out
    assert "gcvit bench speed --models gcvit_pico --out" in (tmp_path / "speed" / "results.md").read_text("utf8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--models", "gcvit_tinny"], "gcvit_tiny"),
        (["--models", "timm/gcvit_tinny"], "timm/gcvit_tiny"),
        (["--models", "gcvit_pico:fast"], "folded"),
        (["--size", "31"], "32"),
        (["--size", "64x"], "HEIGHTxWIDTH"),
        (["--models", "gcvit_pico:cudagraph", "--device", "cpu"], "CUDA"),
        (["--round", "3"], "--rounds"),
    ],
)
def test_a_mistake(gcvit: Command, words: list[str], said: str) -> None:
    result = gcvit("bench", "speed", *words)
    assert result.code == 2
    assert said in result.message
    assert "Traceback" not in result.err
