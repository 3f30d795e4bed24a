"""Parameters and MACs: the published figures, a count from the paper's equations, and a model left alone."""

import pytest
import timm
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import gcvit
from gcvit.bench.cost import macs, parameters
from gcvit.model.config import STAGES, GCViTConfig

PUBLISHED = {"gcvit_xxtiny": (11_995_428, 2_120_792_320), "gcvit_tiny": (28_221_974, 4_761_003_264)}


def on_meta(name, **settings):
    with torch.device("meta"):
        return gcvit.create_model(name, **settings)


def by_hand(config: GCViTConfig) -> int:
    """MACs of one image of the configured size whose maps the windows tile, from the paper's equations."""

    def mbconv(pixels, c):  # depthwise 3×3, squeeze and excite by 4, pointwise
        return pixels * 9 * c + 2 * c * max(c // 4, 1) + pixels * c * c

    side = config.img_size[0] // 2
    total = side**2 * 9 * config.in_chans * config.dim  # the stem's first convolution
    total += mbconv(side**2, config.dim) + (side // 2) ** 2 * 9 * config.dim**2
    for stage in range(STAGES):
        c, (side, _), (window, _) = config.channels[stage], config.map_sizes[stage], config.stage_windows[stage]
        tokens, pooled = side**2, side
        for layer in range(config.query_mbconvs[stage]):
            total += mbconv(pooled**2, c)
            pooled = (pooled + 1) // 2 if layer < config.poolings[stage] else pooled
        for block in range(config.depths[stage]):
            projections = (3 if block % 2 == 0 else 2) + 1
            attention = 2 * tokens * window**2 * c  # q kᵀ and its product with v, in windows
            total += tokens * projections * c**2 + attention + 2 * tokens * c * int(c * config.mlp_ratio)
        if stage + 1 < STAGES:
            total += mbconv(tokens, c) + (side // 2) ** 2 * 9 * c * 2 * c
    return total + config.channels[-1] * config.num_classes


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models(name):
    model = on_meta(name)
    assert (parameters(model), macs(model, 224)) == PUBLISHED[name]


@pytest.mark.parametrize("name", ["gcvit_pico", "gcvit_small"])
def test_the_papers_equations(name):
    model = on_meta(name)
    assert macs(model, model.config.img_size) == by_hand(model.config)


def test_what_does_not_change_the_count():
    model = gcvit.create_model("gcvit_pico", num_classes=7)
    expected = macs(model, 64)
    assert macs(model, (64, 64), batch=3) == 3 * expected
    assert macs(model.fold(), 64) == expected
    assert macs(model.bfloat16(), 64) == expected
    for backend in (SDPBackend.MATH, SDPBackend.FLASH_ATTENTION):
        with sdpa_kernel(backend):
            assert macs(model, 64) == expected


def test_sizes_channels_and_backbones():
    model = on_meta("gcvit_pico")
    assert macs(model, (64, 96)) > macs(model, 64)
    assert macs(model, 65) > macs(model, 64), "padding is computed too"
    grey = on_meta("gcvit_pico", in_chans=1)
    assert macs(model, 64) - macs(grey, 64) == 32 * 32 * 9 * 2 * 16
    backbone = on_meta("gcvit_pico", head=False)
    assert macs(model, 64) - macs(backbone, 64) == 128 * 1000


def test_other_models():
    assert macs(timm.create_model("gcvit_xxtiny"), 224) == PUBLISHED["gcvit_xxtiny"][1]
    assert macs(nn.Conv2d(5, 2, 3, padding=1), (8, 10), in_chans=5) == 8 * 10 * 9 * 5 * 2


def test_the_model_stays_as_it_is():
    model = gcvit.create_model("gcvit_pico").train()
    before = {name: (id(tensor), tensor.clone()) for name, tensor in model.state_dict(keep_vars=True).items()}
    macs(model, 64)
    after = model.state_dict(keep_vars=True)
    assert model.training
    assert {name: id(tensor) for name, tensor in after.items()} == {name: id_ for name, (id_, _) in before.items()}
    assert all(torch.equal(after[name], value) for name, (_, value) in before.items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_mistakes():
    model = on_meta("gcvit_pico")
    with pytest.raises(ValueError, match="batch"):
        macs(model, 64, batch=0)
    with pytest.raises(ValueError, match="31"):
        macs(model, 31)
