"""What is exported of a model: the whole or its backbone, with what it needs to be used."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

import gcvit
from gcvit.export.formats import BACKBONE
from gcvit.export.trained import as_exported
from gcvit.factory import create_model
from gcvit.tasks.backbone import backbone_of
from gcvit.tasks.classify import CLASSIFY
from gcvit.tasks.opened import Opened
from gcvit.tasks.segment import SEGMENT
from gcvit.tasks.segment.settings import ScenePreprocessing
from gcvit.weights.hub import save_hub
from gcvit.weights.preprocessing import Preprocessing
from laws.weights import meaningful_weights
from tasks.segmenters import segmenter

NAMES = ["a", "b", "c", "d", "e"]
SIZE = (64, 96)


def classifier() -> Opened:
    model = meaningful_weights(create_model("gcvit_pico", num_classes=5, img_size=SIZE), 0).eval()
    return Opened(CLASSIFY, model, "gcvit_pico", Preprocessing(SIZE, crop_pct=0.9), NAMES, source="one")


def segmentation_model() -> Opened:
    palette = [(label, 0, 0) for label in range(5)]
    preprocessing = ScenePreprocessing(resize=(200, 80), crop=SIZE)
    return Opened(SEGMENT, segmenter().float(), "gcvit_pico", preprocessing, NAMES, palette=palette, source="two")


MODELS = {"classify": classifier, "segment": segmentation_model}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
IMAGES = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))


@every_model
def test_the_whole_model_gives_its_logits(make: Any) -> None:
    opened = make()
    trained = as_exported(opened)
    with torch.no_grad():
        expected, found = opened.model(IMAGES), trained.model(IMAGES)
    expected = expected if isinstance(expected, Tensor) else expected.logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert (trained.task, trained.size, trained.in_chans) == (opened.task.name, SIZE, 3)
    assert (trained.classes, trained.palette) == (NAMES, opened.palette)
    assert found.ndim == opened.task.output_axes


@every_model
def test_the_backbone_gives_its_maps(make: Any) -> None:
    opened = make()
    trained = as_exported(opened, "backbone")
    assert (trained.task, trained.size, trained.classes, trained.palette) == (BACKBONE, SIZE, None, None)
    with torch.no_grad():
        expected, found = backbone_of(opened.model).pyramid(IMAGES), trained.model(IMAGES)
    assert len(found) == 4
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@every_model
@pytest.mark.parametrize("part", ["model", "backbone"])
def test_another_size_is_what_pictures_are_fitted_to(make: Any, part: Any) -> None:
    trained = as_exported(make(), part)
    other = trained.resized((40, 52))
    assert (trained.size, other.size) == (SIZE, (40, 52))
    assert other.model is trained.model
    for picture in (Image.new("RGB", (300, 100), "red"), Image.new("RGB", (20, 9), "blue")):
        assert trained.transform()(picture).shape == (3, *SIZE)
        assert other.transform()(picture).shape == (3, 40, 52)


def test_a_model_without_classes_has_a_backbone_only(tmp_path: Path) -> None:
    model = create_model("gcvit_pico", num_classes=0)
    save_hub(model, tmp_path / "features", preprocessing=Preprocessing((64, 64)))
    opened = gcvit.open(tmp_path / "features")
    assert opened.classes == []
    trained = as_exported(opened, "backbone")
    with torch.no_grad():
        found = trained.model(IMAGES)
    assert [tuple(x.shape[2:]) for x in found] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    with pytest.raises(ValueError, match="gives features alone; take --part backbone"):
        as_exported(opened)
    with pytest.raises(ValueError, match="features has no classes"):
        opened.predict(Image.new("RGB", (64, 64)))
    with pytest.raises(ValueError, match="features has no classes"):
        CLASSIFY.open_held_out(CLASSIFY.config(), opened, share=False)  # type: ignore[arg-type]
