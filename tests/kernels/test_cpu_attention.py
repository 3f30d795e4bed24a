"""Attention by batched products is `scaled_dot_product_attention`, with its gradients and their gradients."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import forward_ad, gradcheck, gradgradcheck

from gcvit.kernels.cpu_attention import applies, attention

SHAPES = {"windows walked": (2, 3, 5, 4), "heads walked": (6, 2, 5, 4), "one window": (1, 2, 5, 4)}
by_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
by_mask = pytest.mark.parametrize("masked", [False, True], ids=["open", "masked"])


def inputs(shape, masked, dtype):
    """Queries, keys and values as views of one projection, as the model has them."""
    windows, heads, tokens, head_dim = shape
    generator = torch.Generator().manual_seed(0)
    projected = torch.randn(windows, tokens, 3, heads, head_dim, generator=generator, dtype=dtype)
    bias = torch.randn(heads, tokens, tokens, generator=generator, dtype=dtype)
    if masked:
        bias[:, :, -2:] = float("-inf")
    return projected.requires_grad_(), bias.requires_grad_()


def run(function, projected, bias):
    return function(*projected.permute(2, 0, 3, 1, 4), bias)


def ours(q, k, v, bias):
    return attention(q, k, v, bias, 0.7)


def sdpa(q, k, v, bias):
    return F.scaled_dot_product_attention(q, k, v, bias[None], scale=0.7)


@by_shape
@by_mask
def test_outputs_and_gradients_equal_torchs(shape, masked):
    projected, bias = inputs(shape, masked, torch.float64)
    found, expected = run(ours, projected, bias), run(sdpa, projected, bias)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    upstream = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=expected.dtype)
    for a, b in zip(
        torch.autograd.grad(found, (projected, bias), upstream),
        torch.autograd.grad(expected, (projected, bias), upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@by_shape
def test_gradients_and_their_gradients_are_those_of_small_steps(shape):
    projected, bias = inputs(shape, False, torch.float64)
    assert gradcheck(lambda p, b: run(ours, p, b), (projected, bias))
    assert gradgradcheck(lambda p, b: run(ours, p, b), (projected, bias))


@by_shape
def test_gradients_of_masked_gradients_equal_torchs(shape):
    """Small steps cannot be taken from −∞."""
    projected, bias = inputs(shape, True, torch.float64)
    upstream = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def second(function):
        (first,) = torch.autograd.grad((run(function, projected, bias) * upstream).sum(), projected, create_graph=True)
        return torch.autograd.grad(first.square().sum(), projected)[0]

    def plain(q, k, v, bias):
        return F.softmax(q @ k.transpose(-1, -2) * 0.7 + bias, -1) @ v

    torch.testing.assert_close(second(ours), second(plain), rtol=1e-10, atol=1e-12)


@by_shape
@by_mask
def test_many_gradients_at_once_are_one_after_the_other(shape, masked):
    projected, bias = inputs(shape, masked, torch.float64)
    found = run(ours, projected, bias)
    upstream = torch.randn(3, *found.shape, generator=torch.Generator().manual_seed(1), dtype=found.dtype)
    together = torch.autograd.grad(found, (projected, bias), upstream, is_grads_batched=True, retain_graph=True)
    for i in range(3):
        alone = torch.autograd.grad(found, (projected, bias), upstream[i], retain_graph=True)
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a[i], b, rtol=1e-10, atol=1e-12)


@by_shape
def test_a_bias_that_is_not_learned_gets_no_gradient(shape):
    projected, bias = inputs(shape, False, torch.float64)
    frozen = bias.detach()
    (found,) = torch.autograd.grad(run(ours, projected, frozen).square().sum(), projected)
    (expected,) = torch.autograd.grad(run(sdpa, projected, frozen).square().sum(), projected)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_without_gradients_all_is_the_same():
    projected, bias = inputs((6, 2, 5, 4), True, torch.float32)
    with torch.inference_mode():
        found = run(ours, projected, bias)
    torch.testing.assert_close(found, run(ours, projected, bias).detach(), rtol=0, atol=1e-6)


def test_tokens_keep_their_heads_side_by_side_so_that_merging_them_copies_nothing():
    projected, bias = inputs((6, 2, 5, 4), False, torch.float32)
    assert run(ours, projected, bias).transpose(1, 2).is_contiguous()


def test_rule():
    x = torch.zeros(1, 1, 1, 1)
    assert applies(x, x)
    assert not applies(x.double(), x.double())
    assert not applies(x, x.bfloat16())
    assert not applies(x.to("meta"))
    with torch.autocast("cpu", torch.bfloat16):
        assert not applies(x)
    with forward_ad.dual_level():
        assert not applies(x)
    seen = []
    torch.func.vmap(lambda y: seen.append(applies(y)) or y)(x)
    assert seen == [False]
