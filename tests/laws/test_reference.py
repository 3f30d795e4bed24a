"""Outputs and gradients equal the plain reference, at every kind of size and in every configuration."""

import pytest
import torch

from laws import bugs
from laws.models import assert_equal, random_images, real_tokens, small_model
from laws.reference import reference_forward

RECTANGULAR = ((5, 4), (3, 6), (2, 4), (2, 3))
# name: (changes to SMALL, height and width of the images)
SETTINGS = {
    "several windows, with remainders": ({}, (96, 96)),
    "several windows, exact": ({"windows": ((6, 6), (3, 3), (3, 3), (1, 3))}, (96, 96)),
    "larger than img_size, odd": ({}, (131, 99)),
    "smaller than img_size, not square": ({}, (33, 57)),
    "smallest, one token at the end": ({}, (32, 32)),
    "long and narrow": ({}, (32, 224)),
    "published windows": ({"windows": None, "img_size": (224, 224)}, (224, 224)),
    "published windows, other size": ({"windows": None, "img_size": (224, 224)}, (96, 130)),
    "small img_size, windows of 4": ({"windows": None, "img_size": (64, 64)}, (96, 70)),
    "odd img_size": ({"windows": None, "img_size": (75, 97)}, (75, 97)),
    "rectangular img_size": ({"windows": None, "img_size": (64, 128)}, (64, 128)),
    "rectangular windows": ({"windows": RECTANGULAR}, (96, 96)),
    "rectangular windows, rectangular img_size": ({"windows": RECTANGULAR, "img_size": (128, 64)}, (100, 80)),
    "windows larger than the maps, nothing pooled": ({"windows": 12, "img_size": (64, 64)}, (64, 64)),
    "windows of one token": ({"windows": ((3, 3), (2, 1), (1, 1), (1, 1))}, (64, 64)),
    "layer scale": ({"layer_scale": 0.1}, (96, 96)),
    "one channel": ({"in_chans": 1}, (64, 96)),
    "four channels": ({"in_chans": 4}, (64, 96)),
    "more blocks": ({"depths": (3, 2, 4, 5), "heads": (2, 4, 8, 16), "mlp_ratio": 3.0}, (64, 70)),
    "more MBConvs": ({"query_mbconvs": (1, 2, 3, 2)}, (70, 64)),
    "a backbone without a head": ({"head": False}, (96, 70)),
}


def check_outputs(model, images, tolerance=1e-10):
    """Logits, maps, queries and attention of a trace."""
    with torch.no_grad():
        expected = reference_forward(model.config, model.state_dict(), images)
        trace = model.trace(images, blocks="all")
    if model.config.head:
        assert_equal(trace.logits, expected["logits"], "logits", tolerance)
    for stage in range(4):
        assert_equal(trace.maps[stage], expected["maps"][stage], f"map {stage}", tolerance)
        query = expected["queries"][stage].flatten(1, 2).unflatten(2, (model.config.heads[stage], -1))
        assert_equal(trace.queries[stage], query.transpose(1, 2), f"query {stage}", tolerance)
    assert set(trace.attention) == set(expected["attention"])
    for (stage, block), images_attention in expected["attention"].items():
        real = real_tokens(expected["maps"][stage].shape[2:], model.config.stage_windows[stage])
        for image, windows in enumerate(images_attention):
            for window, heads in enumerate(windows):
                ours = trace.attention[stage, block][image, window][:, real[window]][:, :, real[window]]
                what = f"attention of stage {stage}, block {block}, image {image}, window {window}"
                assert_equal(ours, torch.stack(heads), what, tolerance)


def check_gradients(model, images, tolerance=1e-10):
    """Gradients of a random functional of logits and maps, with respect to the images and every parameter."""
    ours = images.clone().requires_grad_()
    model.zero_grad()
    probe(model(ours) if model.config.head else None, model.pyramid(ours)).backward()

    theirs = images.clone().requires_grad_()
    weights = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    out = reference_forward(model.config, weights, theirs)
    probe(out["logits"], out["maps"]).backward()

    assert_equal(ours.grad, theirs.grad, "gradient of the images", tolerance)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        assert_equal(parameter.grad, weights[name].grad, f"gradient of {name}", tolerance)


def probe(logits, maps):
    outputs = maps if logits is None else [logits, *maps]
    return sum(
        (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(i), dtype=out.dtype)).sum()
        for i, out in enumerate(outputs)
    )


def prepare(setting, dtype=torch.float64):
    changes, size = SETTINGS[setting]
    model = small_model(dtype=dtype, **changes)
    return model, random_images(2, *size, channels=model.config.in_chans, dtype=dtype)


@pytest.mark.parametrize("setting", SETTINGS)
def test_outputs(setting):
    check_outputs(*prepare(setting))


@pytest.mark.parametrize("setting", SETTINGS)
def test_gradients(setting):
    check_gradients(*prepare(setting))


@pytest.mark.parametrize("setting", ["several windows, with remainders", "published windows"])
def test_single_precision(setting):
    check_outputs(*prepare(setting, torch.float32), tolerance=1e-5)
    check_gradients(*prepare(setting, torch.float32), tolerance=1e-4)


WRONG_OUTPUTS = [
    bugs.tiled_query,
    bugs.query_of_first_image,
    bugs.gate_over_batch,
    bugs.unmasked_padding,
    bugs.mask_without_the_right,
    bugs.padding_on_the_left,
    bugs.windows_column_first,
    bugs.windows_column_first_both_ways,
    bugs.tokens_of_window_transposed,
    bugs.scrambled_query,
    bugs.pooling_pads_with_zeros,
    bugs.query_resized_bilinearly,
    bugs.poolings_from_the_input,
    bugs.transposed_bias,
    bugs.no_bias,
    bugs.no_scale,
    bugs.approximate_gelu,
]


@pytest.mark.parametrize("bug", WRONG_OUTPUTS, ids=lambda bug: bug.__name__)
def test_outputs_notice(bug, monkeypatch):
    bug(monkeypatch)
    with pytest.raises(AssertionError, match="logits: relative error"):
        check_outputs(*prepare("larger than img_size, odd"))


@pytest.mark.parametrize("bug", [bugs.weights_without_mask, bugs.weights_without_bias], ids=lambda bug: bug.__name__)
def test_attention_notices(bug, monkeypatch):
    bug(monkeypatch)
    with pytest.raises(AssertionError, match=r"attention of stage 0, block 0.*: relative error"):
        check_outputs(*prepare("larger than img_size, odd"))


@pytest.mark.parametrize("bug", [bugs.tiled_query, bugs.detached_query, bugs.transposed_bias], ids=lambda b: b.__name__)
def test_gradients_notice(bug, monkeypatch):
    bug(monkeypatch)
    with pytest.raises(AssertionError, match=r"relative error|no gradient"):
        check_gradients(*prepare("several windows, with remainders"))
