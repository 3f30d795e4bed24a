"""`gcvit bench budget`: tables, JSON and files of a very short measurement."""

import json
from pathlib import Path

import pytest

from .conftest import Command

BRIEF = ["--size", "64x96", "--batch-size", "1", "--steps", "1", "--scale", "64", "--device", "cpu"]


def test_the_tables(gcvit: Command, tmp_path: Path) -> None:
    result = gcvit("bench", "budget", "gcvit_pico:folded", "--out", tmp_path / "found", *BRIEF)
    assert result.code == 0, result.err
    assert "gcvit_pico:folded, batch 1, 64×96 px, fp32" in result.out
    assert "query generator" in result.out
    assert "convolutions" in result.out
    assert "Next:\n  gcvit bench speed --models gcvit_pico gcvit_pico:folded" in result.out
    shown = result.out[result.out.index("where  ") :]
    assert all(len(line) <= 90 for line in shown.splitlines() if "written" not in line)
    assert (tmp_path / "found" / "budget.md").is_file()


def test_json(gcvit: Command) -> None:
    result = gcvit("bench", "budget", "gcvit_pico", "--json", *BRIEF)
    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert found["budget"]["model"] == "gcvit_pico"
    assert found["settings"]["size"] == "64x96"


@pytest.mark.parametrize(
    ("words", "said"),
    [(["timm/gcvit_tiny"], "gcvit_tiny"), (["gcvit_pico", "--size", "16"], "32"), (["gcvit_pico:int8"], "onnx")],
)
def test_a_mistake(gcvit: Command, words: list[str], said: str) -> None:
    result = gcvit("bench", "budget", *words)
    assert result.code == 2
    assert said in result.message
