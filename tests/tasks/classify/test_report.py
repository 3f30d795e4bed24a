"""The parts of a report that only a classifier's has."""

import base64
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gcvit.data.shapes import ShapesDataset
from gcvit.tasks.classify import CLASSIFY
from gcvit.tasks.classify.evaluation import ClassifyEvaluation
from gcvit.tasks.results import write_report
from tasks.evaluations import EVIL, evaluation
from tasks.html_page import Page


def write(folder: Path, result: ClassifyEvaluation) -> Page:
    return Page(write_report(folder, title=EVIL, evaluation=result, task=CLASSIFY))


def test_its_numbers_are_the_evaluations(tmp_path: Path) -> None:
    result = evaluation(200, wrong=20)
    page = write(tmp_path, result)
    low, high = result.top1_interval
    assert f"90.0% 95% interval {low:.1%} to {high:.1%}" in page.text
    assert f"{result.calibration.error:.1%} ECE" in page.text
    assert f"{result.loss:.4f}" in page.text
    assert "Measured on 200 held-out images of 10 classes" in page.text
    assert page.tags.count("img") == 12 + 12 + 2  # mistakes, right answers, confusion, reliability
    assert "the figures are rough" not in page.text
    assert "goldfish (n01443537)" in page.text
    assert page.text.count(EVIL) >= 4


@pytest.mark.parametrize(("images", "classes", "wrong"), [(1, 1, 0), (1, 2, 1), (3, 2, 1), (30, 10, 30)])
def test_few_images_and_few_classes(tmp_path: Path, images: int, classes: int, wrong: int) -> None:
    page = write(tmp_path, evaluation(images, classes=classes, wrong=wrong))
    assert ("top-5" in page.text) == (classes > 5)
    assert "Only 1 image: the figures are rough" in page.text or images > 1
    assert ("Most confident mistakes" in page.text) == (wrong > 0)
    assert ("Most confident right answers" in page.text) == (wrong < images)


def test_a_picture_is_the_one_that_the_row_is_of(tmp_path: Path) -> None:
    images = ShapesDataset("val", 12, 32)
    positions = torch.arange(9) + 3  # the first three could not be read
    page = write(tmp_path, replace(evaluation(9, wrong=1), pictures=images, positions=positions))
    assert page.titles == [images.name(position) for position in range(3, 12)]
    shown = Image.open(BytesIO(base64.b64decode(page.sources[0].split(",")[1])))
    expected = np.asarray(images[3][0], dtype=float)
    assert np.abs(np.asarray(shown, dtype=float) - expected).mean() < 8  # JPEG's
    assert np.abs(np.asarray(images[0][0], dtype=float) - expected).mean() > 16  # what is at the row's number
