"""Exported files in the place of their models: the same answers, and nothing that does not fit is opened."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gcvit
from gcvit.export.formats import CODE, Format
from gcvit.export.opening import open_exported
from gcvit.export.sidecar import read_sidecar, write_sidecar
from gcvit.export.trained import Trained, as_exported
from gcvit.export.writing import export_path, write_export
from gcvit.tasks.classify.answer import Classification
from gcvit.tasks.opened import Opened
from gcvit.tasks.segment.answer import Segmentation
from gcvit.tasks.segment.settings import SegmentLooks
from once import Once

from .classifier import SIZE, classifier, exported_classifier
from .test_trained import segmentation_model


@dataclass(frozen=True)
class Models:
    """A model of each task, and its files. Do not change these."""

    once: Once

    def model(self, task: str) -> Opened:
        return gcvit.open(classifier(self.once)) if task == "classify" else segmentation_model()

    def written(self, task: str, to: Format) -> Path:
        if task == "classify":
            return exported_classifier(self.once, to)
        trained = as_exported(segmentation_model())
        folder = self.once(f"segmenter-{to}", lambda folder: export(trained, folder, to))
        return export_path(folder, trained, to, int8=False)


def export(trained: Trained, folder: Path, to: Format) -> None:
    path = export_path(folder, trained, to, int8=False)
    found = write_export(trained, path, to, pictures={}, min_agreement=1.0, progress=lambda text: None)
    assert found.problem is None


@pytest.fixture(scope="session")
def models(once: Once) -> Models:
    return Models(once)


def pictures() -> list[Image.Image]:
    draw = np.random.default_rng(0)
    return [
        Image.fromarray(draw.integers(0, 256, (*size, 3), dtype=np.uint8))
        for size in ((64, 96), (40, 70), (33, 200), (1, 5), (120, 130))
    ]


@pytest.mark.parametrize(("task", "to"), [("classify", "onnx"), ("classify", "torch-export"), ("segment", "onnx")])
def test_a_file_says_what_its_model_says(models: Models, task: str, to: Format) -> None:
    opened = models.model(task)
    file = gcvit.open(models.written(task, to), trust_code=True)
    assert (file.task, file.name, file.classes, file.palette) == (
        opened.task, opened.name, opened.classes, opened.palette
    )  # fmt: skip
    assert file.exported
    assert file.preprocessing == opened.preprocessing
    looks = SegmentLooks("slide") if opened.task.name == "segment" else None  # as files see pictures
    for picture in pictures():
        ours, theirs = file.predict(picture), opened.predict(picture, looks=looks, device="cpu")
        if isinstance(ours, Classification):
            expected = {guess.index: guess.probability for guess in theirs.guesses}
            assert {guess.index: guess.probability for guess in ours.guesses} == pytest.approx(expected, abs=1e-4)
        else:
            assert isinstance(ours, Segmentation)
            # Smaller pictures are continued with zeros here, up to the size that the file takes.
            if min(np.array(picture.size) - np.array(SIZE[::-1])) >= 0:
                assert (ours.labels == theirs.labels).mean() > 0.999
            assert ours.labels.shape == (picture.height, picture.width)
    for one, other in zip(file.predict(pictures()), map(file.predict, pictures()), strict=True):
        if isinstance(one, Segmentation):
            assert (one.labels == other.labels).all()


@pytest.mark.parametrize("task", ["classify", "segment"])
def test_what_does_not_fit_its_sidecar_is_refused(models: Models, task: str, tmp_path: Path) -> None:
    source = models.written(task, "onnx")
    path = tmp_path / source.name
    path.write_bytes(source.read_bytes())
    sidecar, classes = read_sidecar(source), 10 if task == "classify" else 5
    changes: list[tuple[dict[str, Any], str]] = [
        ({"classes": list("abcd"), "palette": [(0, 0, 0)] * 4}, f"gives {classes} classes, its sidecar names 4"),
        ({"in_chans": 1}, "takes fp32 images of shape"),
        ({"task": "backbone"}, "is a backbone, which gives maps of features and names nothing"),
        ({"task": "segment" if task == "classify" else "classify"}, "does not give what its sidecar says"),
        ({"preprocessing": {"depth": 3}}, "does not go with its sidecar: unknown key 'depth'"),
        ({"preprocessing": {"mean": [0.0, 0.0, 0.0], "std": [0.0, 1.0, 1.0]}}, "does not go with its sidecar: "),
    ]
    for change, message in changes:
        write_sidecar(path, replace(sidecar, **change))
        with pytest.raises(ValueError, match=message):
            open_exported(path)
    write_sidecar(path, sidecar)
    assert open_exported(path).source == str(path)


def test_a_segmentation_file_needs_a_colour_for_each_class(models: Models, tmp_path: Path) -> None:
    source = models.written("segment", "onnx")
    path = tmp_path / source.name
    path.write_bytes(source.read_bytes())
    for palette in (None, [(0, 0, 0)] * 4):
        write_sidecar(path, replace(read_sidecar(source), palette=palette))
        with pytest.raises(ValueError, match="does not give each class a colour; export the model again"):
            open_exported(path)


def test_code_is_run_only_where_its_maker_is_trusted(models: Models) -> None:
    path = models.written("classify", "torch-export")
    assert "torch-export" in CODE
    for opening in (open_exported, gcvit.open):
        with pytest.raises(ValueError, match=r"is a program, .*--trust-code"):
            opening(path)
