"""What stands in the padded positions of a window changes nothing, however large: neither outputs nor gradients."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from gcvit.internals.of_torch import plain_call, set_compiled_call
from gcvit.model import attention, gcvit, windows
from laws import bugs
from laws.models import assert_equal, random_images, small_model

# (changes to SMALL, size of the images): padding on the right, at the bottom, both; maps smaller than windows.
SETTINGS = {
    "right and bottom": ({"windows": (5, 5, 4, 2)}, (96, 96)),
    "right only": ({"windows": ((6, 5), (3, 5), (3, 4), (3, 2))}, (96, 96)),
    "bottom only": ({"windows": ((5, 6), (5, 3), (4, 3), (2, 3))}, (96, 96)),
    "windows larger than maps": ({"windows": 7}, (50, 40)),
}


def fill_padding_with_noise(patch, size, seed):
    """Random values of the given size wherever a map is padded up to whole windows."""
    generator = torch.Generator().manual_seed(seed)
    noisy = []

    def pad(x, window):
        height, width = x.shape[1:3]
        rows, columns = windows.grid((height, width), window)
        noise = size * torch.randn(
            x.shape[0], rows * window[0], columns * window[1], x.shape[3], generator=generator, dtype=x.dtype
        )
        noise[:, :height, :width] = 0
        noisy.append(noise.count_nonzero().item())
        below, right = rows * window[0] - height, columns * window[1] - width
        return F.pad(x, (0, 0, 0, right, 0, below)) + noise

    patch.setattr(windows, "pad", pad)
    return noisy


def run(model, images, blocks="all"):
    images = images.clone().requires_grad_()
    model.zero_grad()
    trace = model.trace(images, blocks=blocks)
    (trace.logits.square().sum() + sum(m.square().sum() for m in trace.maps)).backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    return trace, gradients, images.grad


def check_padding(setting, patch):
    changes, size = SETTINGS[setting]
    model, images = small_model(**changes), random_images(2, *size)
    trace, gradients, of_images = run(model, images)
    for scale in (1.0, 1000.0):
        noisy = fill_padding_with_noise(patch, scale, seed=int(scale))
        noised, gradients_noised, of_images_noised = run(model, images)
        assert len(noisy) == 4, f"{len(noisy)} maps were padded, not 4"
        assert all(noisy), f"a stage has no padded positions: {noisy}"
        assert_equal(noised.logits, trace.logits, f"logits, noise of {scale}")
        for stage in range(4):
            assert_equal(noised.maps[stage], trace.maps[stage], f"map {stage}, noise of {scale}")
            assert_equal(noised.queries[stage], trace.queries[stage], f"query {stage}, noise of {scale}")
        assert_equal(of_images_noised, of_images, f"gradient of the images, noise of {scale}")
        for name, gradient in gradients.items():
            assert_equal(gradients_noised[name], gradient, f"gradient of {name}, noise of {scale}")


@pytest.mark.parametrize("setting", SETTINGS)
def test_values_in_padded_positions_change_nothing(setting, monkeypatch):
    check_padding(setting, monkeypatch)


def check_apart(setting, blocks, patch):
    """Windows at the map's edges computed apart, with the tokens that they have: all is as with padding, gradients
    included, and in a folded copy."""
    changes, size = SETTINGS[setting]
    model, images = small_model(**changes, blocks=blocks), random_images(2, *size)
    masked, expected, of_images_masked = run(model, images, blocks=())
    called, on_pieces = [], attention.WindowAttention.on_pieces
    patch.setattr(gcvit, "LARGE_BIAS", 0)
    patch.setattr(attention.WindowAttention, "on_pieces", lambda *given: called.append(given) or on_pieces(*given))
    found, gradients, of_images = run(model, images, blocks=())
    assert len(called) == sum(model.config.depths)
    assert_equal(found.logits, masked.logits, "logits apart")
    for stage in range(4):
        assert_equal(found.maps[stage], masked.maps[stage], f"map {stage}")
    assert_equal(of_images, of_images_masked, "gradient of the images")
    for name, gradient in expected.items():
        assert_equal(gradients[name], gradient, f"gradient of {name}")
    assert_equal(model.fold()(images), masked.logits, "logits of a folded copy")


@pytest.mark.parametrize("blocks", [("local", "global"), ("local", "local")], ids=str)
@pytest.mark.parametrize("setting", SETTINGS)
def test_windows_at_the_edges_are_computed_apart_where_much_would_be_masked(setting, blocks, monkeypatch):
    check_apart(setting, blocks, monkeypatch)


@pytest.mark.parametrize("setting", ["right and bottom", "right only"])
def test_the_check_of_edges_notices(setting, monkeypatch):
    """That a window without its last columns has other first tokens."""
    monkeypatch.setattr(attention, "first_tokens", lambda query, window, part: query[:, :, : part[0] * part[1]])
    with pytest.raises(AssertionError, match="logits apart"):
        check_apart(setting, ("local", "global"), monkeypatch)


def test_a_whole_model_is_one_graph_all_the_same(monkeypatch):
    monkeypatch.setattr(gcvit, "LARGE_BIAS", 0)
    changes, size = SETTINGS["right and bottom"]
    model, images = small_model(**changes, dtype=torch.float32), random_images(2, *size).float()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    assert_equal(compiled(images), model(images), "logits", tolerance=1e-4)


def test_compiled_blocks_and_traces_take_padded_windows(monkeypatch):
    """The one since each size would be code of its own, the other since its attention has a row for each token."""
    monkeypatch.setattr(gcvit, "LARGE_BIAS", 0)
    monkeypatch.setattr(attention.WindowAttention, "on_pieces", lambda *given: pytest.fail("in pieces"))
    changes, size = SETTINGS["right and bottom"]
    model, images = small_model(**changes), random_images(2, *size)
    model.trace(images, blocks="all")
    for block in (block for stage in model.stages for block in stage.blocks):
        set_compiled_call(block, partial(plain_call, block))
    model(images)


@pytest.mark.parametrize(
    ("bug", "setting"),
    [(bugs.unmasked_padding, setting) for setting in SETTINGS]
    + [
        (bugs.mask_without_the_right, "right and bottom"),
        (bugs.mask_without_the_right, "right only"),
        (bugs.windows_column_first_both_ways, "right and bottom"),
        (bugs.windows_column_first_both_ways, "bottom only"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_the_check_notices(bug, setting, monkeypatch):
    bug(monkeypatch)
    with pytest.raises(AssertionError, match="logits, noise"):
        check_padding(setting, monkeypatch)
