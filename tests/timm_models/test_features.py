"""Feature extraction: the wrappers, intermediate maps, pruning and symbolic tracing agree with `pyramid`."""

from math import ceil

import pytest
import timm
import torch
from timm.layers import create_feature_extractor
from torch.testing import assert_close

from timm_models.models import created, random_images

SIZES = [(64, 64), (75, 49)]


def wrapped(model, **words):
    """A features_only model with the weights of `model`."""
    wrapper = timm.create_model("gc_vit_pico", features_only=True, **words).eval()
    body = next(iter(wrapper.children())) if words.get("feature_cls") == "hook" else wrapper.model
    body.load_state_dict({k: v for k, v in model.state_dict().items() if k in body.state_dict()})
    return wrapper


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES)
def test_features_only(size):
    model, images = created(), random_images(2, *size)
    wrapper = wrapped(model)
    assert wrapper.feature_info.channels() == list(model.config.channels)
    assert wrapper.feature_info.reduction() == [4, 8, 16, 32]
    found = wrapper(images)
    for stage, expected in zip(found, model.pyramid(images), strict=True):
        assert torch.equal(stage, expected)
    for stage, channels, reduction in zip(
        found, wrapper.feature_info.channels(), wrapper.feature_info.reduction(), strict=True
    ):
        assert stage.shape == (2, channels, ceil(size[0] / reduction), ceil(size[1] / reduction))


@torch.no_grad()
@pytest.mark.parametrize("indices", [(0, 2), (2, 0), (-3,), 3])
def test_out_indices(indices):
    model, images = created(), random_images()
    wrapper, maps = wrapped(model, out_indices=indices), model.pyramid(images)
    wanted = [1, 2, 3] if indices == 3 else [index % 4 for index in indices]
    found = wrapper(images)
    assert wrapper.feature_info.channels() == [model.config.channels[i] for i in wanted]
    assert len(found) == len(wanted)
    assert all(torch.equal(stage, maps[i]) for stage, i in zip(found, wanted, strict=True))


def test_features_only_keeps_no_parameter_that_is_not_used():
    for indices in [(0,), (1, 2), (0, 1, 2, 3)]:
        wrapper = timm.create_model("gc_vit_pico", features_only=True, out_indices=indices).train()
        sum(stage.square().mean() for stage in wrapper(random_images())).backward()
        assert [name for name, p in wrapper.named_parameters() if p.grad is None] == []


@torch.no_grad()
def test_hooks_give_the_same_maps_in_nhwc():
    model, images = created(), random_images()
    wrapper = wrapped(model, feature_cls="hook")
    assert wrapper.output_fmt == "NHWC"
    for stage, expected in zip(wrapper(images), model.pyramid(images), strict=True):
        assert torch.equal(stage.permute(0, 3, 1, 2), expected)


def test_checkpointing_gives_the_same_gradients():
    wrapper, images, found = timm.create_model("gc_vit_pico", features_only=True).train(), random_images(), []
    for enable in (False, True):
        wrapper.zero_grad()
        wrapper.model.set_grad_checkpointing(enable)
        sum(stage.square().mean() for stage in wrapper(images)).backward()
        found.append([p.grad.clone() for p in wrapper.parameters()])
    assert_close(*found)


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES)
def test_forward_intermediates(size):
    model, images = created(), random_images(2, *size)
    maps, features = model.pyramid(images), model.forward_features(images)
    final, found = model.forward_intermediates(images)
    assert torch.equal(final, features)
    assert_close(found, maps, rtol=0, atol=0)
    only = model.forward_intermediates(images, indices=[2, -4], intermediates_only=True)
    assert_close(only, [maps[2], maps[0]], rtol=0, atol=0)
    assert_close(model.forward_intermediates(images, indices=2, intermediates_only=True), maps[2:], rtol=0, atol=0)
    _, normed = model.forward_intermediates(images, norm=True)
    assert_close(normed, [*maps[:3], features], rtol=0, atol=0)
    _, nhwc = model.forward_intermediates(images, output_fmt="NHWC")
    assert_close(nhwc, [stage.permute(0, 2, 3, 1) for stage in maps], rtol=0, atol=0)


@torch.no_grad()
def test_stop_early_computes_no_further_stage():
    model, images, ran = created(), random_images(), []
    for position, stage in enumerate(model.stages):
        stage.register_forward_hook(lambda *_, position=position: ran.append(position))
        stage.downsample.register_forward_hook(lambda *_, position=position: ran.append(f"down {position}"))
    maps = model.pyramid(images)
    for norm in (False, True):
        ran.clear()
        final, found = model.forward_intermediates(images, indices=[1], norm=norm, stop_early=True)
        assert ran == [0, "down 0", 1]
        assert torch.equal(final, maps[1])
        assert torch.equal(found[0], maps[1])
    ran.clear()
    final, found = model.forward_intermediates(images, indices=[1])
    assert 3 in ran
    assert torch.equal(final, model.forward_features(images))


@pytest.mark.parametrize(
    "words", [{"indices": [4]}, {"indices": [-5]}, {"indices": 5}, {"indices": []}, {"output_fmt": "NLC"}]
)
def test_bad_indices_and_formats_are_refused(words):
    with pytest.raises(ValueError, match=r"indices|output_fmt"):
        created().forward_intermediates(random_images(), **words)


@torch.no_grad()
def test_prune_intermediate_layers():
    model, images = created(), random_images()
    logits, maps = model(images), model.pyramid(images)
    assert created().prune_intermediate_layers([0, -2]) == [0, 2]
    kept = created()
    kept.prune_intermediate_layers([3], prune_head=False)
    assert torch.equal(kept(images), logits)
    for stage in range(4):
        pruned = created()
        pruned.prune_intermediate_layers([stage], prune_norm=True)
        assert len(pruned.stages) == stage + 1
        assert torch.equal(pruned.forward_features(images), maps[stage])
        assert_close(pruned(images), maps[stage].mean((2, 3)))
        assert pruned.num_features == pruned.head_hidden_size == maps[stage].shape[1]
        assert pruned.num_classes == pruned.config.num_classes == 0
    short = created()
    short.prune_intermediate_layers([1])
    short.set_input_size((128, 96))
    assert short.forward_features(images).shape == maps[1].shape
    with pytest.raises(ValueError, match="first 2 stages"):
        short.reset_classifier(7)


@torch.no_grad()
def test_symbolic_tracing_gives_the_same_logits_at_any_size():
    model = created()
    traced = create_feature_extractor(model, return_nodes=["head"])
    for size in SIZES:
        images = random_images(2, *size)
        assert torch.equal(traced(images)["head"], model(images))
