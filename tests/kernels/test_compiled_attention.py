"""Attention as one operator computes what `scaled_dot_product_attention` does, and tells the compiler what it gives."""

import pytest
import torch
import torch.nn.functional as F

from gcvit.kernels.compiled_attention import attention

SCALE = 0.3
TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2}


def heads(dtype, windows=3, count=2, tokens=6, head_dim=4):
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(windows, count, tokens, head_dim, generator=generator) for _ in range(3))
    bias = torch.randn(count, tokens, tokens, generator=generator)
    bias[0, :, -2:] = float("-inf")  # keys outside the picture
    return [x.to(dtype) for x in (q, k, v, bias)]


@torch.no_grad()
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_equals_torchs_attention(dtype):
    *qkv, bias = heads(dtype)
    expected = F.scaled_dot_product_attention(*qkv, bias[None], scale=SCALE)
    found = attention(*qkv, bias, SCALE)
    assert found.dtype == dtype
    assert found.transpose(1, 2).is_contiguous()
    assert torch.allclose(found, expected, rtol=0, atol=TOLERANCES[dtype])


@torch.no_grad()
def test_under_autocast_the_values_type_decides():
    q, k, v, bias = heads(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = attention(q, k.bfloat16(), v.bfloat16(), bias, SCALE)
        expected = F.scaled_dot_product_attention(q, k, v, bias[None], scale=SCALE)
        assert attention(q, k, v, bias, SCALE).dtype == torch.float32, "what the compiler has not cast stays"
    assert found.dtype == expected.dtype == torch.bfloat16
    assert torch.allclose(found.float(), expected.float(), rtol=0, atol=2e-2)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_opcheck(dtype):
    torch.library.opcheck(torch.ops.gcvit.attention.default, (*heads(dtype), SCALE))
