"""Attention as one operator, for code that is compiled for any number of images and windows.

Into `scaled_dot_product_attention` the compiler looks, and there torch asks whether images × windows is 1: some
releases of the queries, others of the mask. Code for any number has no answer.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from gcvit.kernels import cpu_attention
from gcvit.kernels.cpu_attention import Bias, Heads, like_tokens


def attention(q: Heads, k: Heads, v: Heads, bias: Bias, scale: float) -> Heads:
    """softmax(q kᵀ · scale + bias) v, in v's type; memory as (windows, tokens, heads, head_dim). It cannot be
    differentiated."""
    return torch.ops.gcvit.attention(q.to(v.dtype), k.to(v.dtype), v, bias.to(v.dtype), scale)


@torch.library.custom_op("gcvit::attention", mutates_args=())
def _attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float) -> Tensor:
    with torch.autocast(v.device.type, enabled=False):  # the compiler has cast what is to be cast
        if cpu_attention.applies(q, k, v, bias):
            return cpu_attention.attention(q, k, v, bias, scale)
        return like_tokens(v).copy_(F.scaled_dot_product_attention(q, k, v, bias[None], scale=scale))


@_attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float) -> Tensor:
    return like_tokens(v)
