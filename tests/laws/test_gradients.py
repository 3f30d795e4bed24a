"""Every parameter gets a gradient, in every row of it that can have one; checkpointing changes none of them."""

import pytest
import torch

from laws import bugs
from laws.models import assert_equal, random_images, small_model

# Every offset of every bias table occurs between two real tokens, and nothing is so small that it only adds zeros.
SETTINGS = {"plain": {}, "layer scale": {"layer_scale": 0.1}, "backbone": {"head": False}}


def gradients_of(model, images, seed=0):
    """Gradients of the sum of squares of the outputs, dropout and drop path drawn from `seed`."""
    model.zero_grad()
    torch.manual_seed(seed)
    outputs = model(images)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    sum(out.square().sum() for out in outputs).backward()
    return {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}


def check_every_gradient(model, images):
    for name, gradient in gradients_of(model, images).items():
        assert gradient is not None, f"{name} has no gradient"
        assert gradient.isfinite().all(), f"the gradient of {name} is not finite"
        rows = gradient.flatten(1).norm(dim=1) if gradient.ndim > 1 else gradient.abs()
        if name.endswith(("qkv.bias", "kv.bias")):
            # A bias on the keys adds the same to all scores of a query: softmax, and so the loss, do not see it.
            queries, keys, values = split_bias(name, rows)
            assert (keys < 1e-9 * values.max()).all(), f"{name}: softmax has seen a constant"
            rows = torch.cat([queries, values])
        assert (rows > 1e-12).all(), f"{name}: no gradient in rows {(rows <= 1e-12).nonzero().flatten().tolist()}"


def split_bias(name, rows):
    if name.endswith("qkv.bias"):
        return rows.chunk(3)
    keys, values = rows.chunk(2)
    return rows[:0], keys, values


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_every_parameter_gets_a_gradient(setting, training):
    check_every_gradient(small_model(**SETTINGS[setting]).train(training), random_images(2, 96, 96))


@pytest.mark.parametrize(
    ("bug", "message"),
    [
        (bugs.detached_query, "query.mbconvs.*no gradient"),
        (bugs.no_bias, "bias.table: no gradient in rows"),
        (bugs.first_key_only, "no gradient in rows"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_check_notices(bug, message, monkeypatch):
    bug(monkeypatch)
    with pytest.raises(AssertionError, match=message):
        check_every_gradient(small_model(), random_images(2, 96, 96))


def check_checkpointing(**changes):
    model, images = small_model(**changes).train(), random_images(2, 96, 96)
    plain = gradients_of(model, images)
    model.set_grad_checkpointing(True)
    stored = gradients_of(model, images)
    for name, gradient in plain.items():
        assert_equal(stored[name], gradient, f"gradient of {name} under checkpointing")
    model.set_grad_checkpointing(False)
    again = gradients_of(model, images)
    for name, gradient in plain.items():
        assert torch.equal(again[name], gradient), f"gradient of {name} after checkpointing"


RANDOM = {"drop_path": 0.4, "dropout": 0.2, "attention_dropout": 0.2, "head_dropout": 0.2}


@pytest.mark.parametrize("changes", [{}, RANDOM, {"head": False}], ids=["plain", "random", "backbone"])
def test_checkpointing_changes_no_gradient(changes):
    check_checkpointing(**changes)


def test_checkpointing_saves_memory():
    """Fewer bytes are kept for the backward pass: the option does something."""
    model, images = small_model().train(), random_images(2, 96, 96)

    def kept():
        sizes = {}

        def pack(tensor):
            sizes[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(images)
        return sum(sizes.values())

    plain = kept()
    model.set_grad_checkpointing(True)
    assert kept() < 0.6 * plain


@pytest.mark.parametrize(
    ("bug", "changes"),
    [(bugs.checkpoint_cuts_the_graph, {}), (bugs.checkpoint_forgets_the_randomness, RANDOM)],
    ids=["cuts the graph", "forgets the randomness"],
)
def test_the_check_of_checkpointing_notices(bug, changes, monkeypatch):
    bug(monkeypatch)
    with pytest.raises(AssertionError, match="under checkpointing"):
        check_checkpointing(**changes)
