"""Creation, forward and backward, head and pooling: what timm's factory, optimisers and users rely on."""

import inspect
from dataclasses import fields

import pytest
import timm
import torch
from torch.testing import assert_close

from gcvit.model import VARIANTS, GCViT, GCViTConfig
from gcvit.timm_models import gcvit as module
from gcvit.timm_models.classifier import GCViT as TimmGCViT
from gcvit.weights.hub import TIMM_FIELDS, timm_name
from timm_models.models import created, random_images

SMALL = ("gc_vit_pico", "gc_vit_nano")


def test_every_variant_is_registered_under_our_name_and_no_other():
    names = {timm_name(variant) for variant in VARIANTS}
    assert set(timm.list_models("gc_vit*")) == names
    assert names <= set(timm.list_models(module="gcvit"))
    assert names <= set(module.__all__)
    assert timm.model_entrypoint("gcvit_tiny").__module__ == "timm.models.gcvit", "timm's own is left alone"


@pytest.mark.parametrize("variant", VARIANTS)
def test_configuration_and_state_dict_are_our_models(variant):
    theirs = timm.create_model(timm_name(variant), device="meta")
    with torch.device("meta"):
        ours = GCViT(VARIANTS[variant])
    assert theirs.config == ours.config
    shapes = {name: tensor.shape for name, tensor in ours.state_dict().items()}
    assert {name: tensor.shape for name, tensor in theirs.state_dict().items()} == shapes
    assert {tensor.device.type for tensor in theirs.state_dict().values()} == {"meta"}


@torch.no_grad()
@pytest.mark.parametrize("name", SMALL)
def test_it_computes_what_our_model_computes(name):
    theirs = created(name)
    ours = GCViT(theirs.config).eval()
    ours.load_state_dict(theirs.state_dict())
    for size in [(64, 64), (75, 49)]:
        images = random_images(2, *size)
        assert torch.equal(theirs(images), ours(images))
        assert torch.equal(theirs.trace(images).logits, ours(images))
        assert_close(
            theirs.forward_features(images).mean((2, 3)), theirs.forward_head(theirs.forward_features(images), True)
        )
        assert torch.equal(theirs.forward_head(theirs.forward_features(images)), ours(images))
    assert_close(theirs.fold()(images), ours(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_gets_a_gradient(name, checkpointing):
    model = created(name, drop_path_rate=0.0, drop_rate=0.1, proj_drop_rate=0.1, attn_drop_rate=0.1).train()
    model.set_grad_checkpointing(checkpointing)
    model(random_images()).square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_words_fill_the_configuration():
    words = {
        "in_chans": 5,
        "num_classes": 9,
        "img_size": (64, 96),
        "windows": (2, 3, (4, 6), 2),
        "dim": 8,
        "depths": (2, 3, 2, 2),
        "heads": (2, 2, 4, 4),
        "mlp_ratio": 1.5,
        "layer_scale": 0.1,
        "query_mbconvs": (2, 2, 1, 1),
        "drop_rate": 0.1,
        "drop_path_rate": 0.2,
        "proj_drop_rate": 0.3,
        "attn_drop_rate": 0.4,
        "blocks": ("local", "global_v"),
        "stem": "patch",
        "downsampler": "pool_conv",
        "squeeze_excite": False,
        "query_convolutions": False,
        "query_resize": "nearest",
        "position_bias": False,
        "mask_padding": False,
    }
    assert set(words) | {"global_pool", "device", "dtype"} == set(inspect.signature(TimmGCViT).parameters)
    assert {TIMM_FIELDS.get(f.name, f.name) for f in fields(GCViTConfig)} - {"head"} == set(words)
    config = timm.create_model("gc_vit_pico", **words).config
    ours = {mine: words.get(theirs) for mine, theirs in TIMM_FIELDS.items()}
    wanted = GCViTConfig(**ours | {name: value for name, value in words.items() if name not in TIMM_FIELDS.values()})
    assert config == wanted
    assert TimmGCViT().config == GCViTConfig()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ({"not_a_word": 1}, TypeError),
        ({"head": False}, TypeError),
        ({"embed_dim": 8}, TypeError),
        ({"global_pool": "catavgmax"}, ValueError),
        ({"img_size": 16}, ValueError),
        ({"drop_path_rate": 1.5}, ValueError),
        ({"features_only": True, "feature_cls": "list"}, ValueError),
        ({"features_only": True, "feature_cls": "fx"}, ValueError),
    ],
)
def test_other_words_and_values_are_refused(words, error):
    with pytest.raises(error):
        timm.create_model("gc_vit_pico", **words)


def test_device_and_dtype():
    model = timm.create_model("gc_vit_pico", dtype=torch.float64)
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    with torch.device("meta"):
        assert timm.create_model("gc_vit_large").head.weight.device.type == "meta"
        assert timm.create_model("gc_vit_pico", device="cpu").head.weight.device.type == "cpu"


@torch.no_grad()
def test_a_changed_dtype_leaves_nothing_stale():
    model, images = created(), random_images()
    before = model(images)
    assert model.bfloat16()(images.bfloat16()).dtype == torch.bfloat16
    assert_close(model.double()(images.double()).float(), before, rtol=0.05, atol=0.05)


@torch.no_grad()
def test_without_pooling_logits_at_every_position_average_to_the_logits():
    model, images = created(), random_images(2, 96, 128)
    dense = created(global_pool="")
    assert dense(images).shape == (2, 7, 3, 4)
    assert_close(dense(images).mean((2, 3)), model(images))
    model.reset_classifier(0)
    pooled = model(images)
    assert pooled.shape == (2, model.head_hidden_size)
    model.reset_classifier(0, "")
    assert_close(model(images), model.forward_features(images))
    assert_close(model(images).mean((2, 3)), pooled)


@torch.no_grad()
def test_reset_classifier():
    model, images = created(global_pool="").double(), random_images().double()
    features = model.forward_features(images)
    assert (model.num_classes, model.config.num_classes) == (7, 7)
    model.reset_classifier(3)
    assert model(images).shape == (2, 3, 2, 2), "the pooling stays"
    model.reset_classifier(4, "avg")
    assert model(images).shape == (2, 4)
    assert (model.num_classes, model.config.num_classes) == (4, 4)
    assert model.get_classifier() is model.head
    assert model.head.weight.dtype == torch.float64
    assert not model.head.training
    model.reset_classifier(0)
    assert (model.num_classes, model.config.num_classes) == (0, 0)
    assert isinstance(model.get_classifier(), torch.nn.Identity)
    assert torch.equal(model.forward_features(images), features)
    with pytest.raises(ValueError, match="global_pool"):
        model.reset_classifier(4, "max")


@torch.no_grad()
@pytest.mark.parametrize("channels", [1, 4])
def test_other_channels(channels):
    model = created(in_chans=channels)
    assert model.in_chans == channels
    assert model(random_images(channels=channels)).shape == (2, 7)
    with pytest.raises(ValueError, match="channels"):
        model(random_images())


@torch.no_grad()
def test_set_input_size_equals_a_model_built_for_that_size():
    model, images = created().requires_grad_(False), random_images(2, 96, 160)
    model.set_input_size((96, 160))
    built = timm.create_model("gc_vit_pico", img_size=(96, 160), num_classes=7).eval()
    built.load_state_dict(model.state_dict())
    assert built.config == model.config
    assert torch.equal(built(images), model(images))
    assert not any(p.requires_grad for p in model.parameters())
