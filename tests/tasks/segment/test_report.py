"""The parts of a report that only a segmentation model's has."""

from pathlib import Path

import pytest

from gcvit.tasks.results import write_report
from gcvit.tasks.segment import SEGMENT
from gcvit.tasks.segment.evaluation import SegmentEvaluation
from tasks.html_page import Page
from tasks.scenes import CLASSES, SIZES, Scenes, evaluate


def write(folder: Path, result: SegmentEvaluation) -> Page:
    return Page(write_report(folder, title="t", evaluation=result, task=SEGMENT))


def test_its_numbers_are_the_evaluations(tmp_path: Path) -> None:
    measured = evaluate(Scenes([*SIZES[:5], None]), bad_images="skip")
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


@pytest.mark.parametrize("sizes", [[(1, 1)], [(40, 50)], [(1, 64), (300, 20)]])
def test_few_and_small_images(tmp_path: Path, sizes: list[tuple[int, int]]) -> None:
    assert f"Only {len(sizes)} image" in write(tmp_path, evaluate(Scenes(sizes))).text
