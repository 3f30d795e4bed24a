"""Folders as the Hub has them: what is saved is opened again, and what does not fit is refused."""

import json
import os

import pytest
import timm
import torch
from safetensors.torch import save_file

from gcvit.opening import open as open_model
from gcvit.weights.hub import save_hub
from weights.models import PREPROCESSING, pico, same


def test_hub_directory_round_trip(tmp_path):
    labels = ["été", "a b", "c", "d", "e"]
    source = pico(img_size=(96, 64), windows=[(3, 2), 4, 4, 2], drop_path=0.2)
    save_hub(source, tmp_path / "hub", preprocessing=PREPROCESSING, labels=labels)
    opened = open_model(tmp_path / "hub")
    assert (opened.name, opened.classes, opened.preprocessing) == ("gcvit_pico", labels, PREPROCESSING)
    assert opened.model.config == source.config
    assert same(opened.model, source)


def test_a_failed_save_leaves_the_old_model(tmp_path, monkeypatch):
    old = pico()
    save_hub(old, tmp_path, preprocessing=PREPROCESSING)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_hub(pico(seed=1), tmp_path, preprocessing=PREPROCESSING)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert same(open_model(tmp_path).model, old)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not readable as JSON"),
        ("[]", "JSON object"),
        ('{"architecture": "resnet50"}', "not a GC ViT"),
        ('{"architecture": "gc_vit_pico", "num_classes": 5, "model_args": null}', "model_args.*JSON object"),
        ('{"architecture": "gc_vit_pico", "num_classes": 5, "model_args": {"drop_path_rate": "x"}}', "drop_path"),
        ('{"architecture": "gc_vit_pico", "num_classes": 5, "model_args": {"img_size": 64.5}}', "img_size"),
        ('{"architecture": "gc_vit_pico", "num_classes": 5, "model_args": {"depths": 2}}', "depths"),
        ('{"architecture": "gc_vit_pico", "num_classes": 5, "model_args": {"mlp_ratio": null}}', "mlp_ratio"),
        ('{"architecture": "gc_vit_pico", "num_classes": 5, "model_args": {"colour": 1}}', "colour"),
        ('{"architecture": "gc_vit_pico", "num_classes": 5, "pretrained_cfg": []}', "pretrained_cfg.*JSON object"),
        ('{"architecture": "gc_vit_pico", "num_classes": 5, "label_names": ["a"]}', "1 labels for 5"),
        ('{"architecture": "gc_vit_pico", "num_classes": 7}', "5 classes"),
    ],
)
def test_bad_hub_configurations(tmp_path, content, message):
    save_hub(pico(), tmp_path, preprocessing=PREPROCESSING)
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        open_model(tmp_path)


def test_labels_by_index_as_timm_may_write_them(tmp_path):
    save_hub(pico(), tmp_path, preprocessing=PREPROCESSING)
    config = json.loads((tmp_path / "config.json").read_text())
    config["label_names"] = {"0": "cat", "2": "dog", "4": "owl"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert open_model(tmp_path).classes == ["cat", "1", "dog", "3", "owl"]


def test_a_folded_copy_is_not_saved_over_a_good_checkpoint(tmp_path):
    save_hub(pico(), tmp_path, preprocessing=PREPROCESSING)
    with pytest.raises(ValueError, match="folded"):
        save_hub(pico(seed=1).fold(), tmp_path, preprocessing=PREPROCESSING)
    assert same(open_model(tmp_path).model, pico())


def test_timms_own_windows_for_small_images(tmp_path):
    """timm's rule gives 2, 2, 4, 2 at 64 px, ours 4, 4, 4, 2: its directory must be opened with its windows."""
    model = timm.create_model("gcvit_xxtiny", img_size=64, num_classes=5).eval()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    config = {"architecture": "gcvit_xxtiny", "num_classes": 5, "model_args": {"img_size": 64}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    opened = open_model(tmp_path).model
    assert opened.config.stage_windows == ((2, 2), (2, 2), (4, 4), (2, 2))
    images = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(opened(images), model(images), atol=1e-4)


def test_a_folder_named_like_a_model_is_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_hub(pico(), "gcvit_tiny", preprocessing=PREPROCESSING)
    opened = open_model("gcvit_tiny")
    assert (opened.name, opened.entry) == ("gcvit_pico", None)


def test_windows_that_a_description_leaves_out_are_read_off_the_tables(tmp_path):
    """Older releases of timm did not write a changed img_size."""
    source = pico(img_size=128)
    save_hub(source, tmp_path, preprocessing=PREPROCESSING)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["model_args"]["img_size"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    opened = open_model(tmp_path).model
    assert opened.config.stage_windows == source.config.stage_windows
    assert same(opened, source)
