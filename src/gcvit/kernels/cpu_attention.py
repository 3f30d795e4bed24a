"""Attention on the CPU as a few batched products that read queries, keys and values where they lie.

`scaled_dot_product_attention` cuts each head of each window into tiles of its own, which are small here, and with a
bias that is learned it computes by plain operators, on copies. Here one axis, the shorter of windows and heads, is
walked through and the other is a batch for the matrix library.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gcvit.internals.of_torch import batched, softmax_gradient, transformed

MOST_TOKENS = 256  # of a window; the scores of larger ones leave the cache, and torch's tiles do not
Heads = Float[Tensor, "windows heads tokens head_dim"]
Bias = Float[Tensor, "heads tokens tokens"]


def attention(q: Heads, k: Heads, v: Heads, bias: Bias, scale: float) -> Heads:
    """softmax(q kᵀ · scale + bias) v, the bias the same for all windows; a key that no query of any head may see has
    −∞. Equal to `scaled_dot_product_attention`, gradients included; memory as (windows, tokens, heads, head_dim)."""
    return _Attention.apply(q, k, v, bias, scale)


def eager(x: Tensor) -> bool:
    """On the CPU and computed at once, without tracing, forward-mode gradients and `torch.func`."""
    return (
        x.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not transformed()
    )


def applies(q: Heads, *others: Tensor) -> bool:
    """float32 on the CPU and at most MOST_TOKENS tokens, without autocast, tracing, forward-mode gradients and
    `torch.func`."""
    return (
        eager(q)
        and q.shape[2] <= MOST_TOKENS
        and all(x.dtype == torch.float32 for x in (q, *others))
        and not torch.is_autocast_enabled("cpu")
    )


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float) -> Tensor:
        out = like_tokens(q)
        axis, training = _axis(q), any(ctx.needs_input_grad)
        weights = (
            q.new_empty(q.shape[axis], *(bias.shape if axis == 0 else (len(q), *bias.shape[1:]))) if training else None
        )
        for i, (b, (qi, ki, vi, oi)) in enumerate(_walk(axis, bias, q, k, v, out)):
            scores = torch.baddbmm(b, qi, ki.transpose(1, 2), alpha=scale)
            w = torch.softmax(scores, -1) if weights is None else torch.softmax(scores, -1, out=weights[i])
            oi.copy_(torch.bmm(w, vi))
        if weights is not None:
            ctx.save_for_backward(q, k, v, bias, weights)
            ctx.scale = scale
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, bias, weights = ctx.saved_tensors
        # The gradient's own gradient is wanted, or many gradients at once (`is_grads_batched`).
        if torch.is_grad_enabled() or batched(grad):
            return *_plainly(q, k, v, bias, ctx.scale, grad, ctx.needs_input_grad), None
        dq, dk, dv = (like_tokens(x) for x in (q, k, v))
        dbias = torch.zeros_like(bias)
        axis = _axis(q)
        for w, (db, (qi, ki, vi, gi, dqi, dki, dvi)) in zip(
            weights, _walk(axis, dbias, q, k, v, grad, dq, dk, dv), strict=True
        ):
            dvi.copy_(torch.bmm(w.transpose(1, 2), gi))
            ds = softmax_gradient(torch.bmm(gi, vi.transpose(1, 2)), w)
            dqi.copy_(torch.bmm(ds, ki))
            dki.copy_(torch.bmm(ds.transpose(1, 2), qi))
            if ctx.needs_input_grad[3]:
                db += ds if axis == 0 else ds.sum(0, keepdim=True)
        return dq.mul_(ctx.scale), dk.mul_(ctx.scale), dv, dbias, None


def _axis(q: Tensor) -> int:
    """The axis to walk through: the shorter one."""
    return 0 if q.shape[0] <= q.shape[1] else 1


def _walk(axis: int, bias: Tensor, *tensors: Tensor) -> Any:
    """For each window, the bias and the tensors' parts of it; or for each head."""
    biases = [bias] * len(tensors[0]) if axis == 0 else bias.split(1)
    return zip(biases, zip(*(x.unbind(axis) for x in tensors), strict=True), strict=True)


def like_tokens(x: Tensor) -> Tensor:
    """Empty, of the shape (windows, heads, tokens, head_dim), in the memory of (windows, tokens, heads · head_dim)."""
    windows, heads, tokens, head_dim = x.shape
    return x.new_empty(windows, tokens, heads, head_dim).transpose(1, 2)


def _plainly(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float, grad: Tensor, needed: tuple[bool, ...]
) -> list[Tensor | None]:
    """The gradients, by operators that torch can differentiate and repeat for many `grad` at once."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        q, k, v, bias = (x.view_as(x) for x in (q, k, v, bias))  # of their own, should one have been made of another
        inputs = [x for x, wanted in zip((q, k, v, bias), needed, strict=False) if wanted]
        out = F.softmax(q @ k.transpose(-1, -2) * scale + bias, -1) @ v
    found = iter(torch.autograd.grad(out, inputs, grad, create_graph=again))
    return [next(found) if wanted else None for wanted in needed[:4]]
