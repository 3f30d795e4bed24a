"""Loading: every format, strictly, with nothing changed in silence and nothing run."""

import argparse
import os
import re
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

import gcvit
from gcvit.model import VARIANTS, GCViT
from gcvit.opening import open as open_model
from gcvit.tasks import open_checkpoint
from gcvit.weights.architecture import configuration, read_off
from gcvit.weights.fetching import find
from gcvit.weights.hub import save_hub
from gcvit.weights.loading import adapt_channels
from gcvit.weights.reading import Checkpoint
from gcvit.weights.resolve import resolve
from weights.models import PREPROCESSING, pico, renamed, same


@pytest.mark.parametrize("layout", ["gcvit", "nvlabs", "timm"])
def test_each_layout_loads_exactly(layout):
    source, target = pico(), pico(seed=1)
    report = gcvit.load_weights(target, renamed(source, layout))
    assert same(source, target)
    assert report.loaded == len(source.state_dict())
    assert [report.resized, report.adapted, report.replaced, report.dropped] == [[], [], [], []]


def test_published_training_checkpoint(tmp_path):
    source, averaged, target = pico(), pico(seed=1), pico(seed=2)
    content = {
        "epoch": 3,
        "arch": "gc_vit",
        "args": argparse.Namespace(lr=0.005, opt="adamw"),
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]},
        "state_dict": {f"module.{name}": tensor for name, tensor in renamed(source, "nvlabs").items()},
        "state_dict_ema": renamed(averaged, "nvlabs")
        | {"levels.0.blocks.0.attn.relative_position_index": torch.zeros(16, 16, dtype=torch.int64)},
    }
    for legacy in (False, True):
        path = tmp_path / f"checkpoint{legacy}.pth.tar"
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
        gcvit.load_weights(target, path)
        assert same(source, target)
        gcvit.load_weights(target, path, ema=True)
        assert same(averaged, target)


def test_ema_that_is_not_there_is_an_error(tmp_path):
    torch.save({"state_dict": renamed(pico(), "nvlabs")}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="no averaged weights"):
        gcvit.load_weights(pico(), tmp_path / "a.pth", ema=True)


def test_hostile_pickle_is_refused_and_not_run(tmp_path):
    witness = tmp_path / "ran"

    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(witness),)

    for name in ("evil.pth", "evil.pth.tar"):
        torch.save({"state_dict": renamed(pico(), "nvlabs"), "extra": Hostile()}, tmp_path / name)
        with pytest.raises(
            ValueError, match=rf"{name}: refused, because reading it could run code: it asks for \w+\.mkdir"
        ):
            gcvit.load_weights(pico(), tmp_path / name)
    assert not witness.exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_files_are_named(tmp_path, suffix):
    path, target = tmp_path / f"weights{suffix}", pico(seed=1)
    state = renamed(pico(), "gcvit")
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    whole, before = path.read_bytes(), target.state_dict()
    for share in (0, 0.001, 0.01, 0.3, 0.7, 0.99, 0.9999):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(ValueError, match=re.escape(path.name)):
            gcvit.load_weights(target, path)
    path.write_text("not a checkpoint")
    with pytest.raises(ValueError, match=re.escape(path.name)):
        gcvit.load_weights(target, path)
    assert all(torch.equal(before[name], tensor) for name, tensor in target.state_dict().items())


@pytest.mark.parametrize("source", ["nowhere.pth", "gcvit_tinny", "./a/b", "x/y/z"])
def test_missing_sources_are_errors(source):
    with pytest.raises(ValueError, match="no such file"):
        gcvit.load_weights(pico(), source)


def test_names_missing_and_left_over_are_listed_and_nothing_changes():
    target = pico(seed=1)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    state = renamed(pico(), "nvlabs")
    del state["levels.1.blocks.0.norm1.weight"]
    state["extra.weight"] = torch.zeros(1)
    with pytest.raises(
        ValueError, match=r"(?s)missing \(1\): stages.1.blocks.0.norm1.weight.*left over \(1\): extra.weight"
    ):
        gcvit.load_weights(target, state)
    bad = renamed(pico(), "gcvit")
    bad["stages.3.blocks.1.mlp.fc1.weight"] = torch.zeros(7, 7)
    with pytest.raises(ValueError, match=r"mlp\.fc1\.weight has the shape"):
        gcvit.load_weights(target, bad)
    assert all(torch.equal(before[name], tensor) for name, tensor in target.state_dict().items())


def test_other_classes_need_replace_head():
    source, target = pico(num_classes=7), pico(seed=1)
    head = target.head.weight.clone()
    with pytest.raises(ValueError, match=r"7 classes.*model has 5.*replace_head=True"):
        gcvit.load_weights(target, source.state_dict())
    report = gcvit.load_weights(target, source.state_dict(), replace_head=True)
    assert report.replaced == ["head.weight", "head.bias"]
    assert "fresh head for 5 classes (7 classes in the weights)" in str(report)
    assert torch.equal(target.head.weight, head)
    assert torch.equal(target.norm.weight, source.norm.weight)


@pytest.mark.parametrize("layout", ["gcvit", "nvlabs", "timm"])
def test_a_backbone_drops_the_head_and_says_so(layout):
    source, backbone, pooled = pico(), pico(seed=1, head=False), pico(seed=1, num_classes=0)
    state = renamed(source, layout)
    assert gcvit.load_weights(backbone, state).dropped == ["head.weight", "head.bias", "norm.weight", "norm.bias"]
    assert gcvit.load_weights(pooled, state).dropped == ["head.weight", "head.bias"]
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        for a, b in zip(backbone(images), source.pyramid(images), strict=True):
            assert torch.equal(a, b)
        assert torch.allclose(source.head(pooled(images)), source(images))
    # The other way round there is no head to take.
    with pytest.raises(ValueError, match="no classes in the head"):
        gcvit.load_weights(pico(), backbone.state_dict())


@pytest.mark.parametrize(("old", "new"), [(3, 1), (3, 6), (1, 3), (4, 1)])
def test_other_channels_keep_the_response_to_equal_channels(old, new):
    source, target = pico(in_chans=old), pico(seed=1, in_chans=new)
    report = gcvit.load_weights(target, source.state_dict())
    assert any("first convolution" in line for line in report.adapted)
    grey = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        a, b = source.stem.conv(grey.expand(-1, old, -1, -1)), target.stem.conv(grey.expand(-1, new, -1, -1))
    assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 4, 6])
def test_channels_as_timm_adapts_them(channels):
    from timm.models import adapt_input_conv

    weight = torch.randn(8, 3, 3, 3)
    assert torch.allclose(adapt_channels(weight, channels), adapt_input_conv(channels, weight), atol=1e-6)


def test_other_windows_resize_the_tables_and_the_report_says_so():
    source, target = pico(), pico(seed=1, img_size=(160, 96))
    report = gcvit.load_weights(target, source.state_dict())
    assert target.config.stage_windows == ((5, 4), (5, 4), (10, 6), (5, 3))
    assert len(report.resized) == sum(target.config.depths)
    assert "2 bias tables resized from windows of 4×4 to 10×6" in str(report)
    # set_input_size makes the same change.
    source.set_input_size((160, 96))
    assert same(source, target)


def test_windows_of_the_same_area_are_told_apart_by_the_hub_configuration(tmp_path):
    wide, tall = pico(windows=[(2, 3)] * 4), pico(seed=1, windows=[(3, 2)] * 4)
    save_hub(wide, tmp_path / "wide", preprocessing=PREPROCESSING)
    report = gcvit.load_weights(tall, tmp_path / "wide")
    assert len(report.resized) == sum(tall.config.depths)
    wide.set_input_size(windows=[(3, 2)] * 4)
    assert same(wide, tall)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_variant_is_read_off_a_bare_state_dict(name):
    with torch.device("meta"):
        model = GCViT(VARIANTS[name])
    config = read_off(Checkpoint(renamed(model, "nvlabs"), "meta"))
    expected = VARIANTS["gcvit_large" if name == "gcvit_large_21k" else name]
    assert (config.dim, config.depths, config.mlp_ratio) == (expected.dim, expected.depths, expected.mlp_ratio)
    assert (config.stage_windows, config.poolings) == (expected.stage_windows, expected.poolings)


def test_open_model_from_a_bare_file(tmp_path):
    source = pico(img_size=128, in_chans=1)
    save_file(renamed(source, "timm"), tmp_path / "a.safetensors")
    opened = open_model(tmp_path / "a.safetensors")
    assert opened.name == "gcvit_pico"
    assert opened.model.config.img_size == (128, 128)
    images = torch.randn(2, 1, 128, 128)
    with torch.no_grad():
        assert torch.equal(opened.model(images), source(images))


def test_prefixes_of_wrappers_in_any_order():
    for prefix in ("module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod."):
        source, target = pico(), pico(seed=1)
        gcvit.load_weights(target, {prefix + name: tensor for name, tensor in source.state_dict().items()})
        assert same(source, target)


def test_setting_the_same_size_keeps_the_parameters():
    model = pico()
    before = [id(parameter) for parameter in model.parameters()]
    model.set_input_size(64)
    assert [id(parameter) for parameter in model.parameters()] == before


def test_a_runs_folder_stands_for_its_best_weights(tmp_path):
    best, last, target = pico(), pico(seed=1), pico(seed=2)
    save_hub(best, tmp_path / "best", preprocessing=PREPROCESSING)
    save_hub(last, tmp_path / "last", preprocessing=PREPROCESSING)
    for source in (tmp_path, str(tmp_path), resolve(tmp_path)):
        assert gcvit.load_weights(target, source).origin == str(tmp_path / "best")
        assert same(best, target)
    assert open_model(tmp_path).source == str(tmp_path / "best")


def test_a_checkpoint_is_read_once(tmp_path, monkeypatch):
    """`find`, then whatever opens it: values are mapped, and the file may be gone by then."""
    source = pico()
    save_hub(source, tmp_path, preprocessing=PREPROCESSING)
    checkpoint = find(tmp_path)
    for file in tmp_path.iterdir():
        file.unlink()
    assert checkpoint.task is None
    assert configuration(checkpoint) == source.config
    assert same(open_checkpoint(checkpoint).model, source)
    assert gcvit.load_weights(pico(seed=1), checkpoint).loaded == len(source.state_dict())


def test_an_exported_file_has_no_weights_to_take(tmp_path):
    (tmp_path / "model.onnx").touch()
    with pytest.raises(ValueError, match=r"model\.onnx is an exported file, which only runs; give the checkpoint"):
        gcvit.load_weights(pico(), tmp_path / "model.onnx")


def test_a_file_of_an_unknown_size_is_refused(tmp_path):
    for changes, message in (
        ({"dim": 24}, "of none of the sizes we know"),
        ({"windows": ((4, 2), 4, 4, 2)}, "its windows are not square"),
        ({"head": False}, "of none of the sizes we know"),
    ):
        torch.save(GCViT(replace(VARIANTS["gcvit_pico"], **changes)).state_dict(), tmp_path / "a.pth")
        with pytest.raises(ValueError, match=rf"a\.pth: .*{message}"):
            open_model(tmp_path / "a.pth")
    state = pico().state_dict()
    state["stages.1.blocks.1.attention.bias.table"] = torch.zeros(9, 2)
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(
        ValueError, match=r"blocks have different windows; of another shape \(1\): stages\.1\.blocks\.1"
    ):
        open_model(tmp_path / "a.pth")


def test_names_that_are_no_unicode_come_back(tmp_path):
    labels = ["\udcff", "a\ud800b", "c\\udcff", "d", "\x1b"]
    save_hub(pico(), tmp_path, preprocessing=PREPROCESSING, labels=labels)
    assert open_model(tmp_path).classes == labels
