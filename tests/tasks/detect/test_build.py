"""Where a run starts: a detector's weights, its rows by the names of classes."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gcvit.tasks.detect.config import DetectConfig
from gcvit.tasks.detect.detector import Detector
from gcvit.tasks.detect.settings import HeadConfig
from tasks.building import built

CONFIG = DetectConfig(model="gcvit_pico", head=HeadConfig(channels=8, hidden=16), precision="fp32", batch_size=16)
CLASSES = ["cat", "dog", "bird"]
CLASSIFIER = "roi_heads.box_heads.0.classifier.weight"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    opened, _ = built(CONFIG, CLASSES)
    folder = tmp_path_factory.mktemp("runs") / "best"
    opened.task.save(opened, opened.model, folder, {})
    return folder


def start(weights: Path, classes: list[str]) -> tuple[Detector, list[str]]:
    opened, notes = built(replace(CONFIG, weights=str(weights)), classes)
    assert isinstance(opened.model, Detector)
    return opened.model, notes


def test_classes_keep_their_rows_by_name(trained: Path) -> None:
    model, notes = start(trained, ["bird", "fish", "cat"])
    theirs = load_file(trained / "model.safetensors")
    for name, weight in model.state_dict().items():
        if name.startswith("roi_heads.") and ("classifier" in name or "regressor" in name):
            each = 4 if "regressor" in name else 1
            ours, other = weight.unflatten(0, (-1, each)), theirs[name].unflatten(0, (-1, each))
            assert torch.equal(ours[[0, 2]], other[[2, 0]])
            assert torch.equal(ours[3:], other[3:])  # the background, where there is one
        else:
            assert torch.equal(weight, theirs[name])
    assert notes[-1].startswith("FRESH rows in the classifier for 1 of 3 classes")


def test_rows_for_other_classes_than_are_named_are_refused(trained: Path, tmp_path: Path) -> None:
    """Also where they are by chance as many as the run has."""
    state = load_file(trained / "model.safetensors")
    (tmp_path / "config.json").write_bytes((trained / "config.json").read_bytes())
    save_file(state | {CLASSIFIER: state[CLASSIFIER][1:].clone()}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"classifier.weight of shape \(3, 16\) does not fit its 3 classes"):
        start(tmp_path, ["cat", "dog"])
