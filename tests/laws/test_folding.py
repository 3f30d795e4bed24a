"""`fold()` computes the same: logits, maps, traces, in the type of the model, which it leaves as it was."""

import pytest
import torch

from laws import bugs
from laws.models import assert_equal, random_images, small_model

SETTINGS = {
    "padded": ({}, (96, 70)),
    "exact": ({"windows": ((6, 6), (3, 3), (3, 3), (1, 3))}, (96, 96)),
    "layer scale": ({"layer_scale": 0.1}, (96, 70)),
    "backbone": ({"head": False}, (64, 64)),
    "published windows": ({"windows": None, "img_size": (224, 224)}, (224, 224)),
}


@torch.no_grad()
def check_fold(setting, dtype, tolerance):
    changes, size = SETTINGS[setting]
    model, images = small_model(dtype=dtype, **changes), random_images(2, *size, dtype=dtype)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    expected = model.trace(images, blocks="all")
    folded = model.fold()
    actual = folded.trace(images, blocks="all")
    if model.config.head:
        assert_equal(folded(images), expected.logits, "folded logits", tolerance)
        assert_equal(actual.logits, expected.logits, "folded logits of trace", tolerance)
    for stage, found in enumerate(folded.pyramid(images)):
        assert_equal(found, expected.maps[stage], f"folded map {stage}", tolerance)
        assert_equal(actual.queries[stage], expected.queries[stage], f"folded query {stage}", tolerance)
    for where, weights in expected.attention.items():
        assert_equal(actual.attention[where], weights, f"folded attention {where}", 10 * tolerance)
    assert not folded.training
    assert not any(p.requires_grad for p in folded.parameters())
    after = model.state_dict()
    assert list(before) == list(after), "folding has changed the model"
    assert all(torch.equal(before[name], after[name]) for name in before), "folding has changed the model"
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)], ids=["32", "64"])
def test_a_folded_copy_computes_the_same(setting, dtype, tolerance):
    check_fold(setting, dtype, tolerance)


@pytest.mark.parametrize(
    ("bug", "setting"),
    [
        (bugs.fold_forgets_the_shift, "padded"),
        (bugs.fold_forgets_layer_scale, "layer scale"),
        (bugs.fold_scales_twice, "exact"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_the_check_notices(bug, setting, monkeypatch):
    bug(monkeypatch)
    with pytest.raises(AssertionError, match="folded logits"):
        check_fold(setting, torch.float32, 1e-5)


def test_a_folded_copy_shares_nothing_with_its_model():
    model = small_model()
    folded, images = model.fold(), random_images(1, 64, 64)
    with torch.no_grad():
        before = folded(images)
        for parameter in model.parameters():
            parameter.zero_()
        assert torch.equal(folded(images), before)


def test_folding_twice_and_resizing_a_folded_copy_are_errors():
    folded = small_model().fold()
    with pytest.raises(ValueError, match="folded"):
        folded.fold()
    with pytest.raises(ValueError, match="folded"):
        folded.set_input_size(64)
