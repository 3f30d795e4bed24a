"""`gcvit explain`: figures and arrays of every task's models; what cannot be read or asked is told."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.conftest import Command, Example
from gcvit.data.shapes import ShapesDataset
from gcvit.tasks.detect.task import Detect

FIGURES = ("explained", "queries", "query-channels")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(2):
        ShapesDataset("test", 2, (64, 80))[number][0].save(folder / f"{number}.png")
    return folder


def test_every_task_has_figures_and_arrays(gcvit: Command, example: Example, photos: Path) -> None:
    result = gcvit("explain", example.run, photos, "--out", "out", "--device", "cpu")
    assert result.code == 0, result.err
    assert [line for line in result.out.splitlines() if line.startswith("figure: ")] == [
        f"figure: out/{name}.png" for name in FIGURES
    ]
    for name in FIGURES:
        assert Image.open(f"out/{name}.png").width > 400
    for number in range(2):
        arrays = np.load(f"out/{number}.npz", allow_pickle=False)
        assert arrays["picture"].ndim == 3
        maps = [arrays[name] for name in arrays.files if "attention" in name or "CAM" in name]
        assert len(maps) >= 3
        assert all(np.isfinite(found).all() and found.ndim == 2 for found in maps)
    (again,) = result.next
    assert gcvit(*again).code == 0  # the next command works as printed


def test_a_picture_in_which_nothing_is_found_spoils_none_of_the_others(
    gcvit: Command, detect_run: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, first = Detect.targets, iter([True, False])
    monkeypatch.setattr(Detect, "targets", lambda *given: [] if next(first) else whole(*given))
    result = gcvit("explain", detect_run, photos, "--out", "out", "--device", "cpu")
    assert result.code == 1
    assert "photos/0.png: the model finds nothing in this picture" in result.message
    assert "1 of 2 images could not be shown" in result.message
    assert "Warning" not in result.message
    assert Path("out/1.npz").is_file()
    assert Path("out/explained.png").is_file()


def test_reach_is_measured_beside_other_models(gcvit: Command, best: Path, photos: Path) -> None:
    result = gcvit("explain", best, photos / "0.png", "--out", "out", "--reach", "--beside", "timm/test_convnext")
    assert result.code == 0, result.err
    assert Image.open("out/reach.png").width > 400
    numbers = np.load("out/reach.npz", allow_pickle=False)
    names = {name.partition(":")[0] for name in numbers.files}
    assert names == {"gcvit_pico", "gcvit_pico, random weights", "timm/test_convnext, random weights"}
    assert "stage 1 global" in result.out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--stage", "4"], "there is no stage 4"),
        (["--block", "99"], "there is no block (1, 99)"),
        (["--head", "99"], "there is no head 99"),
        (["--token", "999", "0"], "outside the image"),
        (["--class", "dog"], "there is no 'dog' to explain"),
        (["--size", "8"], "32"),
        (["--out", "/proc/nothing"], "/proc/nothing: no results can be written there"),
        (["--reach", "--beside", "timm/resnet19"], "did you mean timm/resnet18"),
    ],
)
def test_what_is_not_there_is_told(gcvit: Command, best: Path, photos: Path, flags: list[str], message: str) -> None:
    result = gcvit("explain", best, photos, "--out", "out", *flags)
    assert result.code == 2
    assert message in result.message
    assert not list(Path("out").glob("*.png"))


def test_what_cannot_be_read_is_listed_and_the_rest_shown(gcvit: Command, best: Path, photos: Path) -> None:
    (photos / "cut.png").write_bytes((photos / "0.png").read_bytes()[:200])
    (photos / "empty.png").touch()
    result = gcvit("explain", best, photos, "--out", "out", "--format", "svg")
    assert result.code == 1
    assert "2 of 4 images could not be shown" in result.message
    assert Path("out/explained.svg").is_file()
    shutil.rmtree("out")
    for name in ("0.png", "1.png"):
        (photos / name).unlink()
    assert gcvit("explain", best, photos, "--out", "out").code == 1
    assert not Path("out").exists()


def test_the_report_card_is_made_for_models_that_know_the_scenes(
    gcvit: Command, best: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gcvit.explain import report_card

    whole = report_card.report_card
    monkeypatch.setattr(report_card, "report_card", lambda opened, progress: whole(opened, 2, progress))
    result = gcvit("explain", best, photos, "--out", "out", "--report-card")
    assert result.code == 0, result.err
    grades = json.loads(Path("out/report-card.json").read_text())
    assert grades["Gaussian in the middle"]["right_class"] is None
    asked = {title for title, grade in grades.items() if grade["right_class"] is not None}
    assert asked == {"value-path rollout of class", "element-wise Grad-CAM", "Grad-CAM", "Grad-CAM, stage 3"}
    assert all(0 <= grade["auc"] <= 1 and 0 <= grade["pointing"] <= 1 for grade in grades.values())
