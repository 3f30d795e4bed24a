"""How images are prepared is kept with the model, for whatever reads it: this package, a sidecar, timm."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import timm

import gcvit  # noqa: F401  # timm's names of the models
from gcvit.data.augment import eval_transform
from gcvit.engine.config import override
from gcvit.factory import create_model
from gcvit.opening import open as open_model
from gcvit.weights.hub import save_hub
from gcvit.weights.preprocessing import Preprocessing, usual_mean_std

MANY = Preprocessing((64, 96), 0.9, "squash", "bilinear", (0.1, 0.2, 0.3, 0.4), (0.5, 0.6, 0.7, 0.8), (-1024.0, 3071.0))


@pytest.mark.parametrize(
    "prepared", [MANY, Preprocessing((64, 64)), Preprocessing((64, 64), value_range=(0.0, 4095.0))]
)
def test_it_is_opened_as_it_was_saved(tmp_path: Path, prepared: Preprocessing) -> None:
    model = create_model("gcvit_pico", num_classes=3, in_chans=len(prepared.mean), img_size=prepared.size)
    save_hub(model, tmp_path, preprocessing=prepared)
    assert open_model(tmp_path).preprocessing == prepared
    written = json.loads((tmp_path / "config.json").read_text())
    assert ("value_range" in written) == (prepared.value_range is not None)  # what has none is written as ever
    theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert list(theirs.pretrained_cfg["mean"]) == list(prepared.mean)
    assert list(theirs.pretrained_cfg["input_size"]) == [len(prepared.mean), *prepared.size]


def test_a_sidecar_s_json_gives_it_back() -> None:
    assert override(Preprocessing(), json.loads(json.dumps(asdict(MANY)))) == MANY
    old = {key: value for key, value in asdict(Preprocessing()).items() if key != "value_range"}
    assert override(Preprocessing(), old) == Preprocessing()


def test_a_transform_takes_all_but_the_range() -> None:
    assert eval_transform(**MANY.geometry()) == eval_transform(
        size=(64, 96), crop_pct=0.9, crop_mode="squash", interpolation="bilinear", mean=MANY.mean, std=MANY.std
    )


def test_usual_means() -> None:
    assert usual_mean_std(3) == (Preprocessing().mean, Preprocessing().std)
    assert usual_mean_std(1) == ((0.449,), (0.226,))
    assert usual_mean_std(5) == ((0.449,) * 5, (0.226,) * 5)
