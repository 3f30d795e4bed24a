"""`trace` tells what `forward` did, and doing so changes nothing."""

from contextlib import contextmanager

import pytest
import torch

from gcvit.model import attention
from gcvit.model.windows import padding_mask
from laws import bugs
from laws.models import assert_equal, random_images, real_tokens, small_model

SETTINGS = {
    "padded windows": ({}, (96, 70)),
    "exact windows": ({"windows": ((6, 6), (3, 3), (3, 3), (1, 3))}, (96, 96)),
    "layer scale": ({"layer_scale": 0.1}, (64, 96)),
}


@contextmanager
def recording_attention(model, taken):
    """Note (tokens, output) of every attention module under its (stage, block)."""

    def record(where):
        def hook(module, inputs, output):
            taken[where] = (inputs[0], output)

        return hook

    hooks = [
        block.attention.register_forward_hook(record((s, b)))
        for s, stage in enumerate(model.stages)
        for b, block in enumerate(stage.blocks)
    ]
    yield
    for hook in hooks:
        hook.remove()


@torch.no_grad()
def check_trace(model, images):
    taken = {}
    logits = model(images)
    with recording_attention(model, taken):
        maps = model.pyramid(images)
    trace = model.trace(images, blocks="all")

    assert torch.equal(trace.logits, logits), "logits of trace and forward"
    assert len(trace.maps) == len(maps) == len(trace.queries) == 4
    for stage, (ours, theirs) in enumerate(zip(trace.maps, maps, strict=True)):
        assert torch.equal(ours, theirs), f"map {stage} of trace and pyramid"

    assert list(trace.attention) == list(taken), "blocks in the order in which they ran"
    for (stage, block), weights in trace.attention.items():
        what = f"attention of stage {stage}, block {block}"
        module = model.stages[stage].blocks[block].attention
        window, heads = model.config.stage_windows[stage], model.config.heads[stage]
        tokens, output = taken[stage, block]
        assert weights.shape == (*tokens.shape[:2], heads, tokens.shape[2], tokens.shape[2]), what
        assert_equal(weights.sum(-1), torch.ones_like(weights[..., 0]), f"{what}: rows' sums")
        assert (weights >= 0).all(), f"{what}: negative"
        for n, real in enumerate(real_tokens(maps[stage].shape[2:], window)):
            padded = sorted(set(range(tokens.shape[2])) - set(real))
            assert (weights[:, n, :, :, padded] == 0).all(), f"{what}: weight on padding in window {n}"
        # Applied to the values, these weights give what the block computed: they are its attention, not another.
        last = module.kv if block % 2 else module.qkv
        values = (tokens @ last.weight.T + last.bias)[..., -tokens.shape[3] :].unflatten(3, (heads, -1))
        mixed = torch.einsum("bwhqk,bwkhd->bwqhd", weights, values).flatten(3)
        assert_equal(module.proj(mixed), output, f"{what}: applied to the values")


@pytest.mark.parametrize("setting", SETTINGS)
def test_trace_tells_what_forward_did(setting):
    changes, size = SETTINGS[setting]
    check_trace(small_model(**changes), random_images(2, *size))


@pytest.mark.parametrize(
    ("bug", "message"),
    [
        (bugs.weights_without_mask, "weight on padding"),
        (bugs.weights_without_bias, "applied to the values"),
        (bugs.recording_changes_the_stage, "logits of trace"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_check_notices(bug, message, monkeypatch):
    bug(monkeypatch)
    with pytest.raises(AssertionError, match=message):
        check_trace(small_model(), random_images(2, 96, 70))


def test_attention_is_computed_only_for_the_blocks_asked_for(monkeypatch):
    calls, right = [], attention.WindowAttention.weights

    def counted(self, *args):
        calls.append(self)
        return right(self, *args)

    monkeypatch.setattr(attention.WindowAttention, "weights", counted)
    model, images = small_model(), random_images(1, 64, 64)
    model(images)
    assert not model.trace(images).attention
    assert not calls
    chosen = [(2, 1), (0, 0)]
    assert set(model.trace(images, blocks=chosen).attention) == set(chosen)
    assert calls == [model.stages[0].blocks[0].attention, model.stages[2].blocks[1].attention]


@pytest.mark.parametrize("blocks", [[(0, 2)], [(4, 0)], [(0, -1)], "some"])
def test_blocks_that_do_not_exist_are_named(blocks):
    with pytest.raises(ValueError, match="block"):
        small_model().trace(random_images(1, 64, 64), blocks=blocks)


def test_a_backbone_has_no_logits():
    model, images = small_model(head=False), random_images(1, 64, 64)
    trace = model.trace(images)
    assert trace.logits is None
    for ours, theirs in zip(trace.maps, model(images), strict=True):
        assert torch.equal(ours, theirs)


def test_gradients_of_the_logits_reach_every_map():
    """A map's gradient is what a change of the map changes in the logits."""
    model, images = small_model(), random_images(2, 96, 70)
    trace = model.trace(images)
    gradients = torch.autograd.grad(trace.logits.square().sum(), trace.maps)
    for stage, (found, gradient) in enumerate(zip(trace.maps, gradients, strict=True)):
        assert gradient.abs().max() > 1e-6, f"map {stage}"
        step = torch.randn_like(found) * 1e-6
        with torch.no_grad():
            moved = [after_stage(model, found + sign * step, stage).square().sum() for sign in (1, -1)]
        assert_equal((moved[0] - moved[1]) / 2, (gradient * step).sum(), f"map {stage}", tolerance=1e-5)


def after_stage(model, x, stage):
    """The logits that follow from a stage's map."""
    x = x.permute(0, 2, 3, 1)
    for before, after in zip(model.stages[stage:], model.stages[stage + 1 :], strict=False):
        x = after(before.downsample(x))
    return model.classify(x.permute(0, 3, 1, 2))


@pytest.mark.parametrize("setting", SETTINGS)
def test_logits_can_be_computed_from_the_attention_itself(setting):
    changes, size = SETTINGS[setting]
    model, images = small_model(**changes), random_images(2, *size)
    trace = model.trace(images, blocks="all", through=True)
    assert_equal(trace.logits, model(images), "logits through the weights")
    gradients = torch.autograd.grad(trace.logits.square().sum(), list(trace.attention.values()))
    for where, gradient in zip(trace.attention, gradients, strict=True):
        assert gradient.abs().max() > 1e-9, f"nothing reaches the attention of {where}"


def test_beside_the_path_no_gradient_reaches_the_attention():
    model, images = small_model(), random_images(1, 64, 64)
    trace = model.trace(images, blocks=[(2, 1)])
    (gradient,) = torch.autograd.grad(trace.logits.sum(), [trace.attention[2, 1]], allow_unused=True)
    assert gradient is None


@torch.no_grad()
def test_logsumexp_makes_one_softmax_of_all_windows():
    """weights × softmax over windows of logsumexp is the softmax of the scores over all keys of the image."""
    model, images = small_model(), random_images(2, 96, 70)
    trace, taken = model.trace(images, blocks=[(0, 1)]), {}
    with recording_attention(model, taken):
        model(images)
    tokens, _ = taken[0, 1]
    module, query = model.stages[0].blocks[1].attention, trace.queries[0]
    padding = padding_mask(trace.maps[0].shape[2:], model.config.stage_windows[0], images.device)
    keys = module.kv(tokens)[..., : tokens.shape[3]].unflatten(3, (module.heads, -1)).permute(0, 1, 3, 2, 4)
    scores = query[:, None] @ keys.transpose(-1, -2) * module.scale + module.mask(module.bias(), padding)
    whole = scores.permute(0, 2, 3, 1, 4).flatten(3).softmax(-1)  # batch, heads, tokens, every key of every window
    joined = trace.attention[0, 1] * trace.logsumexp[0, 1].softmax(1)[..., None]
    assert_equal(joined.permute(0, 2, 3, 1, 4).flatten(3), whole, "one softmax over the picture")
