"""Hub directories both ways, and `pretrained=True` from files of the published formats, with no network."""

import argparse
import json
import os

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.gcvit import GlobalContextVit
from torch.testing import assert_close

from gcvit.model import VARIANTS, GCViT
from gcvit.opening import open as open_model
from gcvit.weights.catalogue import CATALOGUE
from gcvit.weights.hub import save_hub, timm_name
from gcvit.weights.names import table
from gcvit.weights.preprocessing import Preprocessing
from laws.weights import meaningful_weights
from timm_models.models import created, random_images

CHANGES = [
    {},
    {"in_chans": 1, "img_size": (64, 96)},
    {"windows": (2, (3, 5), 4, 1), "layer_scale": 0.5, "depths": (2, 3, 2, 2), "drop_path_rate": 0.1},
    {"img_size": 96, "query_mbconvs": (1, 1, 1, 1), "mlp_ratio": 1.0},
]
HUB = {"hf_hub_id": "nvidia/GCViT", "hf_hub_filename": "gcvit.pth.tar", "custom_load": "hf"}


def published(model, path, layout="nvlabs"):
    """A file as NVlabs saved it, of a model's weights: names, wrapping, namespace and derived buffers."""
    state = {getattr(row, layout): model.state_dict()[row.gcvit] for row in table(model.config)}
    state["levels.0.blocks.0.attn.relative_position_index"] = torch.zeros(16, 16, dtype=torch.int64)
    args = argparse.Namespace(lr=0.005, model="gc_vit")
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}, "args": args, "epoch": 310}, path)
    return path


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that holds one file, of a pico model with 1000 classes; returns that model."""
    model = created(num_classes=1000)
    path = published(model, tmp_path / HUB["hf_hub_filename"])

    def download(repository, filename, **_):
        assert (repository, filename) == (HUB["hf_hub_id"], path.name)
        return str(path)

    monkeypatch.setattr("timm.models._hub.hf_hub_download", download)
    return model


def pretrained(**words):
    return timm.create_model("gc_vit_pico", pretrained=True, pretrained_cfg_overlay=HUB, **words).eval()


@torch.no_grad()
@pytest.mark.parametrize("changes", CHANGES)
def test_our_hub_directory_loads_in_timm(tmp_path, changes):
    images = random_images(2, 75, 96, changes.get("in_chans", 3))
    model = created(**changes)
    save_hub(model, tmp_path, preprocessing=Preprocessing(model.config.img_size))
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert loaded.config == model.config
    assert torch.equal(loaded(images), model(images))


@torch.no_grad()
@pytest.mark.parametrize("changes", CHANGES)
def test_timms_hub_directory_loads_in_timm_and_here(tmp_path, changes):
    images = random_images(2, 75, 96, changes.get("in_chans", 3))
    model = created(**changes)
    timm.models.save_for_hf(model, tmp_path, safe_serialization=True)
    assert torch.equal(timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()(images), model(images))
    opened = open_model(tmp_path)
    assert torch.equal(opened.model(images), model(images))
    assert opened.name == "gcvit_pico" or "depths" in changes


@torch.no_grad()
def test_timms_hub_directory_remembers_a_changed_input_size(tmp_path):
    images, model = random_images(2, 80, 96), created(windows=3)
    for size, windows in [((96, 80), (2, 3, (4, 2), 2)), (96, None)]:
        model.set_input_size(size, windows)
        timm.models.save_for_hf(model, tmp_path, safe_serialization=True)
        loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
        assert loaded.config.stage_windows == model.config.stage_windows
        assert torch.equal(loaded(images), model(images))


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 96), (96, 96)])
def test_a_hub_directory_adapts_to_other_windows(tmp_path, size):
    model, images = created(img_size=size), random_images(2, 128, 96)
    save_hub(model, tmp_path, preprocessing=Preprocessing(size))
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, img_size=(128, 96)).eval()
    model.set_input_size((128, 96))
    assert loaded.config == model.config
    assert torch.equal(loaded(images), model(images))


@torch.no_grad()
def test_a_hub_directory_adapts_to_other_classes_and_channels(tmp_path):
    model = created()
    save_hub(model, tmp_path, preprocessing=Preprocessing((64, 64)))
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, num_classes=3, in_chans=1).eval()
    grey = random_images(channels=1)
    assert loaded(grey).shape == (2, 3)
    assert_close(loaded.forward_features(grey), model.forward_features(grey.expand(-1, 3, -1, -1)))
    features = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, features_only=True).eval()
    assert_close(features(random_images()), model.pyramid(random_images()), rtol=0, atol=0)


@torch.no_grad()
def test_pretrained_from_the_published_format(hub):
    images = random_images()
    assert torch.equal(pretrained()(images), hub(images))
    assert torch.equal(pretrained(num_classes=0)(images), hub.forward_head(hub.forward_features(images), True))
    assert_close(pretrained(features_only=True)(images), hub.pyramid(images), rtol=0, atol=0)
    other = pretrained(num_classes=5)
    assert other(images).shape == (2, 5)
    assert torch.equal(other.forward_features(images), hub.forward_features(images))
    grey = random_images(channels=1)
    assert_close(pretrained(in_chans=1)(grey), hub(grey.expand(-1, 3, -1, -1)))
    hub.set_input_size((96, 160))
    assert torch.equal(pretrained(img_size=(96, 160))(images), hub(images))


def test_pretrained_refuses_code_and_other_models(hub, tmp_path):
    witness = tmp_path / "ran"

    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(witness),)

    torch.save({"state_dict": hub.state_dict(), "extra": Hostile()}, tmp_path / HUB["hf_hub_filename"])
    with pytest.raises(ValueError, match="could run code"):
        pretrained()
    assert not witness.exists()
    torch.save({"state_dict": {"conv1.weight": torch.zeros(1)}}, tmp_path / HUB["hf_hub_filename"])
    with pytest.raises(ValueError, match="not a GC ViT"):
        pretrained()


@torch.no_grad()
def test_a_local_file_of_timms_own_model_loads(tmp_path):
    """Through timm's ordinary loader and our filter; timm's model at 224 px has windows of 7, 7, 14, 7."""
    shape = {"depths": (2, 2, 2, 2), "num_heads": (1, 2, 2, 4), "mlp_ratio": 2.0, "num_classes": 1000}
    theirs = meaningful_weights(GlobalContextVit(img_size=224, embed_dim=32, **shape)).eval()
    torch.save(theirs.state_dict(), tmp_path / "timm.pth")
    words = {"pretrained": True, "dim": 32, "pretrained_cfg_overlay": {"file": str(tmp_path / "timm.pth")}}
    ours = timm.create_model("gc_vit_pico", img_size=224, **words).eval()
    images = random_images(2, 224, 224)
    assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-4)
    assert_close(ours.forward_features(images), theirs.forward_features(images), rtol=1e-3, atol=1e-3)
    resized = timm.create_model("gc_vit_pico", img_size=64, **words).eval()
    ours.set_input_size(64)
    assert torch.equal(resized(images), ours(images))


@pytest.mark.parametrize(
    "content", [{"conv1.weight": torch.zeros(1)}, {"stages.0.blocks.0.attention.bias.table": None}]
)
def test_a_local_file_of_another_model_is_refused(tmp_path, content):
    model = created(num_classes=1000)
    if None in content.values():
        content = model.state_dict() | {name: torch.zeros(45, 1) for name in content}
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"not a GC ViT's|no square window"):
        timm.create_model("gc_vit_pico", pretrained=True, pretrained_cfg_overlay={"file": str(tmp_path / "other.pth")})


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=CATALOGUE)
def test_published_checkpoints_are_known_to_timm(entry):
    name = timm_name(entry.name)
    assert name in timm.list_pretrained("gc_vit_*")
    cfg = timm.get_pretrained_cfg(name)
    assert cfg.license == "cc-by-nc-sa-4.0"
    assert cfg.custom_load, "timm's own reader would load the optimiser too, and not say what does not fit"
    assert entry.url == (cfg.url or f"https://huggingface.co/{cfg.hf_hub_id}/resolve/main/{cfg.hf_hub_filename}")
    assert (cfg.input_size, cfg.crop_pct, cfg.crop_mode) == (
        (3, *entry.preprocessing.size),
        entry.preprocessing.crop_pct,
        entry.preprocessing.crop_mode,
    )
    assert cfg.pool_size == VARIANTS[entry.model].map_sizes[-1]


@torch.no_grad()
def test_a_published_name_asks_for_its_file(tmp_path, monkeypatch):
    """The whole way, for the smallest published model in both formats."""
    model = meaningful_weights(GCViT(VARIANTS["gcvit_xxtiny"])).eval()
    asked = []

    def from_hub(repository, filename, **_):
        asked.append(f"{repository}/{filename}")
        return str(published(model, tmp_path / filename))

    def from_url(url, **_):
        asked.append(url)
        return str(published(model, tmp_path / url.rsplit("/", 1)[1], "timm"))

    monkeypatch.setattr("timm.models._hub.hf_hub_download", from_hub)
    monkeypatch.setattr("timm.models._builder.download_cached_file", from_url)
    images = random_images()
    expected = model(images)
    for name in ("gc_vit_xxtiny", "gc_vit_xxtiny.timm"):
        with pytest.warns(UserWarning, match="non-commercial"):
            assert torch.equal(timm.create_model(name, pretrained=True).eval()(images), expected)
    assert asked == ["nvidia/GCViT/gcvit_1k_xxtiny.pth.tar", CATALOGUE["gcvit_xxtiny.timm"].url]


def test_names_without_weights_say_so():
    with pytest.raises(RuntimeError, match="No pretrained weights"):
        timm.create_model("gc_vit_pico", pretrained=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.to(torch.int8), r"floating-point numbers .* not norm\.weight \(int8\)"),
        (lambda x: x * float("nan"), r"NaN or infinite values .*: norm\.weight"),
    ],
)
def test_weights_that_are_no_finite_numbers_are_refused(hub, tmp_path, change, message):
    """On every way that timm knows: a hub directory, a local file, a published one."""
    state = hub.state_dict()
    state["norm.weight"] = change(state["norm.weight"])
    save_hub(hub, tmp_path / "hub", preprocessing=Preprocessing((64, 64)))
    save_file(state, tmp_path / "hub" / "model.safetensors")
    torch.save(state, tmp_path / "local.pth")
    torch.save({"state_dict": state}, tmp_path / HUB["hf_hub_filename"])
    for build in (
        lambda: timm.create_model(f"local-dir:{tmp_path / 'hub'}", pretrained=True),
        lambda: timm.create_model(
            "gc_vit_pico", pretrained=True, pretrained_cfg_overlay={"file": str(tmp_path / "local.pth")}
        ),
        pretrained,
    ):
        with pytest.raises(ValueError, match=message):
            build()


def test_a_description_of_another_model_is_refused_before_it_is_built(tmp_path, monkeypatch):
    save_hub(created(), tmp_path, preprocessing=Preprocessing((64, 64)))
    monkeypatch.setattr("gcvit.model.layers.Stem.__init__", None)
    config = json.loads((tmp_path / "config.json").read_text())
    for name, value, message in (
        ("dim", 10**9, "dim must be"),
        ("dim", 1024, r"of another shape \(\d+\): stem"),
        ("depths", [2, 2, 2, 10**9], "depths must be"),
        ("depths", [2, 2, 2, 128], r"missing \(\d+\): stages\.3\.blocks\.2"),
        ("windows", 10**6, "window of stage 0 must be"),
        ("windows", 1024, r"of another shape \(8\): .*table"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | {"model_args": {name: value}}))
        with pytest.raises(ValueError, match=message):
            timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
