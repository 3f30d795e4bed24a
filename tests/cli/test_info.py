"""`gcvit info`: the list and the descriptions, all without a network."""

import re
import socket
from pathlib import Path

import pytest

from gcvit.factory import list_models

from .conftest import SHORT, Command, Example, Fake


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("`gcvit info` opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_the_list(gcvit: Command) -> None:
    result = gcvit("info")
    assert result.code == 0, result.err
    rows = {line.split()[0]: line for line in result.out.splitlines() if line.startswith("gcvit_")}
    assert list(rows) == list_models()
    assert re.search(r"28\.2 M +224×224 +83\.5%", rows["gcvit_tiny"])  # the paper's Table S.1, NVlabs' top-1
    assert all(len(line) <= 80 for line in result.out.splitlines())


def test_a_published_model(gcvit: Command) -> None:
    result = gcvit("info", "gcvit_tiny")
    assert result.code == 0, result.err
    assert "28.2 M (28,2" in result.out
    assert "4.8 G for one image of 224×224" in result.out  # MACs, which the paper calls FLOPs
    assert "BY-NC-SA" in result.out
    assert "ImageNet-1K" in result.out
    stages = [line.split() for line in result.out.splitlines() if re.match(r" *[1-4] ", line)]
    assert [stage[1] for stage in stages] == ["56×56", "28×28", "14×14", "7×7"]
    assert [stage[2] for stage in stages] == ["7×7", "7×7", "14×14", "7×7"]
    assert [stage[3] for stage in stages] == ["8×8", "4×4", "1×1", "1×1"]
    assert all(len(line) <= 80 for line in result.out.splitlines() if "https://" not in line)


def test_another_size_changes_the_windows(gcvit: Command) -> None:
    result = gcvit("info", "gcvit_tiny", "--size", "384")
    assert result.code == 0, result.err
    assert "384×384" in result.out
    assert "24×24" in result.out  # the third stage's window, as in the published models at 384
    result = gcvit("info", "gcvit_tiny", "--size", "224x448")
    assert result.code == 0, result.err
    assert "for one image of 224×448" in result.out
    assert "14×28" in result.out


def test_a_run(gcvit: Command, example: Example) -> None:
    named = {
        "classify": ["classify: names what is in images", "10 classes: disc, ring", "64×64 px, bicubic"],
        "segment": [
            "segment: names every pixel",
            "UPerNet on gcvit_pico",
            "11 classes: ground, disc",
            "crops of 48×48 px",
        ],
    }[example.task]
    for source in (example.run, example.run / "best"):
        result = gcvit("info", source)
        assert result.code == 0, result.err
        for word in ("gcvit_pico", "parameters", "MACs", "normalised", *named):
            assert word in result.out
        stages = [line.split() for line in result.out.splitlines() if re.match(r" *[1-4] ", line)]
        assert len(stages) == 4
        assert result.next == [
            ["predict", str(source), "photo.jpg"],
            ["eval", str(source)],
            ["export", str(source), "--to", "onnx"],
        ]


def test_an_exported_file(gcvit: Command, fake: Fake, example: Example) -> None:
    """Of which the sidecar tells."""
    assert gcvit("export", example.run, "--to", "torch-export", "--out", ".").code == 0
    (file,) = Path().glob("*.pt2")
    result = gcvit("info", file)
    assert result.code == 0, result.err
    side = 64 if example.task == "classify" else 48
    for word in (
        example.task,
        "gcvit_pico",
        "torch-export",
        f"3 × {side}×{side} px",
        f"{example.run}/best",
        "classes: ",
    ):
        assert word in result.out
    assert result.next == [["predict", str(file), "photo.jpg", "--trust-code"]]
    assert gcvit("info", file, "--size", "96").code == 2


@pytest.mark.usefixtures("without_report")
def test_an_ablation_says_in_what_it_differs(gcvit: Command) -> None:
    words = ("--arch.blocks", "local", "global_v", "--arch.stem", "patch", "--out", "run")
    trained = gcvit("train", "classify", "--train-images", "20", "--val-images", "10", *SHORT, *words)
    said = "blocks local, global_v; stem patch"
    assert f", {said}, " in trained.out + trained.err
    assert f"{said} (the paper's otherwise)" in gcvit("info", "run").out
    assert "design" not in gcvit("info", "gcvit_tiny").out


@pytest.mark.parametrize(("size", "said"), [("31", "from 32 to"), ("64x31", "from 32 to"), ("big", "800x1344")])
def test_a_size_that_cannot_be(gcvit: Command, size: str, said: str) -> None:
    result = gcvit("info", "gcvit_tiny", "--size", size)
    assert result.code == 2
    assert said in result.err
