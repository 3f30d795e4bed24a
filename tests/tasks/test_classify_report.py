"""The report: one file without anything from outside, everything escaped, and its figures are the evaluation's."""

import base64
import re
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gcvit.data.shapes import ShapesDataset
from gcvit.engine.config import load_config
from gcvit.engine.log import read_log
from gcvit.metrics import Accuracy
from gcvit.tasks.classify import ClassifyConfig, Evaluation, TrainResult
from gcvit.tasks.classify.report import write_report
from gcvit.tasks.unreadable import Unreadable
from gcvit.tasks.wording import plural, rate
from tasks.html_page import Page

EVIL = "<script>alert('&')</script>"
CLASSES = [EVIL, "n01443537", *(f"class {label}" for label in range(2, 10))]


def evaluation(images: int, *, classes: int = 10, wrong: int = 0, seconds: float = 2.0) -> Evaluation:
    """The first `wrong` of the images are taken for the next class."""
    labels = torch.arange(images) % classes
    predicted = torch.where(torch.arange(images) < wrong, (labels + 1) % classes, labels)
    accuracy = Accuracy(classes)
    accuracy.update(predicted[:, None], labels)
    confidence = torch.linspace(0.9, 0.5, images)
    return Evaluation(accuracy, torch.arange(images), labels, predicted, confidence, -confidence.log(), [], seconds)


def write(folder: Path, result: Evaluation, **extra: object) -> Page:
    images = ShapesDataset("val", max(len(result.labels), 1), 32)
    classes = CLASSES[: result.accuracy.classes]
    path = write_report(folder, title=EVIL, evaluation=result, images=images, classes=classes, **extra)
    assert path == folder / "report.html"
    return Page(path)


def test_it_needs_nothing_else_and_runs_nothing(tmp_path: Path) -> None:
    page = write(tmp_path, evaluation(200, wrong=20), commands=[("look", ["gcvit", "predict", "my <run>"])])
    assert "script" not in page.tags
    assert {source.split(",")[0] for source in page.sources} == {"data:image/png;base64", "data:image/jpeg;base64"}
    assert "http" not in re.sub(r"base64,[^\"]*", "", (tmp_path / "report.html").read_text())
    assert page.text.count(EVIL) >= 4
    assert "goldfish (n01443537)" in page.text
    assert "gcvit predict 'my <run>'" in page.text
    assert list(tmp_path.iterdir()) == [tmp_path / "report.html"]


def test_its_numbers_are_the_evaluations(tmp_path: Path) -> None:
    result = evaluation(200, wrong=20)
    page = write(tmp_path, result)
    low, high = result.top1_interval
    assert f"90.0% 95% interval {low:.1%} to {high:.1%}" in page.text
    assert f"{result.calibration.error:.1%} ECE" in page.text
    assert f"{result.loss:.3f}" in page.text
    assert "Measured on 200 held-out images of 10 classes" in page.text
    assert page.tags.count("img") == 12 + 12 + 2  # mistakes, right answers, confusion, reliability
    assert "the figures are rough" not in page.text


@pytest.mark.parametrize(("images", "classes", "wrong"), [(1, 1, 0), (1, 2, 1), (3, 2, 1), (30, 10, 30)])
def test_few_images_and_few_classes(tmp_path: Path, images: int, classes: int, wrong: int) -> None:
    page = write(tmp_path, evaluation(images, classes=classes, wrong=wrong))
    assert ("top-5" in page.text) == (classes > 5)
    assert "Only 1 image: the figures are rough" in page.text or images > 1
    assert ("Most confident mistakes" in page.text) == (wrong > 0)
    assert ("Most confident right answers" in page.text) == (wrong < images)


def test_images_that_were_left_out_are_listed(tmp_path: Path) -> None:
    result = evaluation(9)
    result.unreadable.append(Unreadable(9, "ring/<b>1.png", "cut off"))
    path = write_report(tmp_path, title="t", evaluation=result, images=ShapesDataset("val", 10, 32), classes=CLASSES)
    assert "1 image could not be read" in Page(path).text
    assert "ring/<b>1.png" in Page(path).text


def test_a_picture_is_the_one_that_the_row_is_of(tmp_path: Path) -> None:
    result = replace(evaluation(9, wrong=1), positions=torch.arange(9) + 3)  # the first three could not be read
    images = ShapesDataset("val", 12, 32)
    page = Page(write_report(tmp_path, title="t", evaluation=result, images=images, classes=CLASSES))
    assert page.titles == [images.name(position) for position in range(3, 12)]
    shown = Image.open(BytesIO(base64.b64decode(page.sources[0].split(",")[1])))
    expected = np.asarray(images[3][0], dtype=float)
    assert np.abs(np.asarray(shown, dtype=float) - expected).mean() < 8  # JPEG's
    assert np.abs(np.asarray(images[0][0], dtype=float) - expected).mean() > 16  # what is at the row's number


def test_a_slow_model_has_a_speed(tmp_path: Path) -> None:
    assert "0.045/s" in write(tmp_path, evaluation(9, seconds=200)).text
    assert [rate(speed) for speed in (0.0449, 3.21, 12.4, 1234.5)] == ["0.045", "3.2", "12", "1,234"]


def test_a_run_is_described_from_its_configuration_and_log(tiny_run: TrainResult, tmp_path: Path) -> None:
    config = load_config(ClassifyConfig(), tiny_run.out / "train.json")
    page = write(tmp_path, evaluation(30), config=config, events=read_log(tiny_run.out / "log.jsonl"))
    text = " ".join(page.text.split())
    assert page.tags.count("details") == 2
    assert f"epochs {config.epochs} {ClassifyConfig().epochs}" in text
    assert text.index("optim.ema_decay") < text.index("weight_decay")  # changed settings come first
    assert "best epoch" in text
    assert "images/s (median)" in text
    assert "1 process" in text
    assert page.tags.count("img") == 12 + 3  # the curves too


def test_one_is_not_plural() -> None:
    assert [plural(n, "epoch") for n in (0, 1, 2000)] == ["0 epochs", "1 epoch", "2,000 epochs"]
    assert plural(2, "class", "es") == "2 classes"
