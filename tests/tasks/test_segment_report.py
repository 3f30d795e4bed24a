"""The report and the pictures of a segmentation run: its numbers are the evaluation's, and everything is escaped."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from gcvit.tasks.segment.config import SegmentConfig
from gcvit.tasks.segment.data import Scenes as RunScenes
from gcvit.tasks.segment.evaluate import Evaluation, Evaluator
from gcvit.tasks.segment.outputs import evaluation_flags, save_curves, save_outputs
from gcvit.tasks.segment.report import write_report
from tasks.html_page import Page
from tasks.scenes import AS_THEY_ARE, CLASSES, SIZES, Scenes, model

FEW = SIZES[:5]

EVIL = "<script>alert('&')</script>"


@pytest.fixture(scope="module")
def measured() -> Evaluation:
    return Evaluator(Scenes([*FEW, None]), AS_THEY_ARE, bad_images="skip")(model(), device=torch.device("cpu"))


def write(folder: Path, result: Evaluation, classes: list[str] = CLASSES, **extra: object) -> Page:
    scenes = Scenes(FEW)
    return Page(
        write_report(
            folder,
            title=EVIL,
            evaluation=result,
            scenes=scenes,
            classes=classes,
            palette=scenes.palette,
            **extra,  # type: ignore[arg-type]
        )
    )


def events() -> list[dict]:
    """Of a short run."""
    versions = {"torch": "2"}
    found: list[dict] = [
        {"event": "start", "time": 0.0, "parameters": 1234, "training_images": 9, "device": "cpu", "precision": "fp32"}
    ]
    found[0]["versions"] = versions
    for step in (10, 20, 25):
        found.append({"event": "steps", "time": step, "step": step, "epoch": 1, "loss": 1.0, "images_per_second": 5.0})
        scores = {"miou": step / 30, "pixel_accuracy": 0.5, "boundary_iou": 0.2, "loss": 1.1}
        evaluation = {"event": "evaluation", "time": step, "step": step, "epoch": step // 10, "best": step < 25}
        found.append({**evaluation, **scores})
    return found


def test_it_needs_nothing_else_and_runs_nothing(tmp_path: Path, measured: Evaluation) -> None:
    page = write(tmp_path, measured, [EVIL, *CLASSES[1:]], commands=[("look", ["gcvit", "predict", "my <run>"])])
    assert "script" not in page.tags
    assert {source.split(",")[0] for source in page.sources} == {"data:image/png;base64", "data:image/jpeg;base64"}
    assert "http" not in re.sub(r"base64,[^\"]*", "", (tmp_path / "report.html").read_text())
    assert page.text.count(EVIL) >= 3
    assert "gcvit predict 'my <run>'" in page.text
    assert list(tmp_path.iterdir()) == [tmp_path / "report.html"]


def test_its_numbers_are_the_evaluations(tmp_path: Path, measured: Evaluation) -> None:
    page, counts = write(tmp_path, measured), measured.counts
    text = " ".join(page.text.split())
    for name, value in (
        ("mIoU", counts.miou),
        ("boundary IoU", counts.boundary_iou),
        ("mean accuracy", counts.mean_accuracy),
        ("pixel accuracy", counts.pixel_accuracy),
    ):
        assert f"{name} {value:.1%}" in text
    assert f"Measured on 5 held-out images at their own size, {counts.pixels:,} labelled pixels of 4 classes" in text
    assert "1 image could not be read" in text
    assert "scenes/05.png" in text
    for at, name in enumerate(CLASSES):
        iou, accuracy, edges = (
            scores[at] for scores in (counts.per_class_iou, counts.per_class_accuracy, counts.per_class_boundary_iou)
        )
        assert f"{name} {iou:.1%} {accuracy:.1%} {edges:.1%}" in text
    assert page.tags.count("img") == 2 + 2  # worst, best; classes, confusion


def test_a_run_is_described_from_its_configuration_and_log(tmp_path: Path, measured: Evaluation) -> None:
    config = replace(SegmentConfig(), steps=60, eval_every=10)
    page = write(tmp_path, measured, config=config, events=events())
    text = " ".join(page.text.split())
    assert "steps 60 1000" in text
    assert "best step 20 of 25 steps" in text
    assert "augment.cat_max_ratio" in text
    assert page.tags.count("img") == 2 + 2 + 1  # the curves


@pytest.mark.parametrize("sizes", [[(1, 1)], [(40, 50)], [(1, 64), (300, 20)]])
def test_few_and_small_images(tmp_path: Path, sizes: list[tuple[int, int]]) -> None:
    result = Evaluator(Scenes(sizes), AS_THEY_ARE)(model(), device=torch.device("cpu"))
    assert f"Only {len(sizes)} image" in write(tmp_path, result).text


def test_a_run_leaves_its_pictures_and_the_report_last(tmp_path: Path, measured: Evaluation) -> None:
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events()))
    config = replace(SegmentConfig(), data="my scenes", ignore_label=11)
    held_out = Scenes(FEW)
    scenes = RunScenes(Scenes(FEW), held_out, CLASSES, held_out.palette, divided=True)  # type: ignore[arg-type]
    outputs = save_outputs(tmp_path, config, scenes, measured)
    pictures = {outputs.curves, outputs.predictions, outputs.classes, outputs.confusion}
    assert {path.name for path in tmp_path.iterdir()} == {"log.jsonl", "report.html", *(path.name for path in pictures)}
    for path in pictures:
        assert path.stat().st_mtime_ns <= outputs.report.stat().st_mtime_ns
        with Image.open(path) as image:
            assert image.width > 500
    text = Page(outputs.report).text
    flags = "--data 'my scenes' --ignore-label 11 --val-fraction 0.1 --seed 0"
    assert f"gcvit eval segment {tmp_path}/best {flags}" in text
    assert f"gcvit predict segment {tmp_path}/best photo.jpg --out predicted" in text


def test_what_to_measure_again_is_what_was_held_out() -> None:
    assert evaluation_flags(SegmentConfig(), divided=False) == ["--images", 200]
    other = replace(SegmentConfig(), data="d", ignore_label=None, zero_is_ignored=True, eval_mode="slide")
    assert evaluation_flags(other, divided=False) == [
        "--data", "d", "--ignore-label", "none", "--zero-is-ignored", True, "--mode", "slide",
    ]  # fmt: skip


def test_there_are_no_curves_without_an_evaluation(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(json.dumps(events()[0]) + "\n")
    save_curves(tmp_path, SegmentConfig())
    assert not (tmp_path / "curves.png").exists()
