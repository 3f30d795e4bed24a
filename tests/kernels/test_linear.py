"""The fused linear equals torch's own, applies where it says, and stays out of gradients and graphs."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gcvit
from gcvit.kernels import linear as kernel
from gcvit.kernels.linear import InferenceLinear, applies, linear


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 16), (3, 7, 16), (2, 4, 5, 16), (0, 16)])
def test_equals_torch(shape, bias, gelu):
    layer = nn.Linear(16, 24, bias).requires_grad_(False)
    x = torch.randn(shape)
    expected = F.linear(x.double(), layer.weight.double(), layer.bias.double() if bias else None)
    expected = F.gelu(expected) if gelu else expected
    assert torch.allclose(InferenceLinear(layer, gelu)(x).double(), expected, atol=1e-6)


def test_strided_input():
    layer = nn.Linear(16, 24).requires_grad_(False)
    x = torch.randn(3, 16, 7).transpose(1, 2)
    assert torch.allclose(InferenceLinear(layer)(x), layer(x), atol=1e-6)


def test_the_rule():
    x, weight = torch.randn(2, 16), torch.randn(24, 16)
    assert applies(x, weight)
    assert not applies(x.double(), weight.double())
    assert not applies(x.bfloat16(), weight.bfloat16())
    assert not applies(x.to("meta"), weight.to("meta"))
    assert not applies(x.clone().requires_grad_(), weight)
    with torch.no_grad():
        assert applies(x.clone().requires_grad_(), weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert not applies(x, weight)


def test_gradients_pass_where_they_are_asked_for():
    layer = nn.Linear(16, 24).requires_grad_(False)
    x = torch.randn(2, 16, requires_grad=True)
    linear(x, layer.weight, layer.bias, gelu=True).sum().backward()
    found, x.grad = x.grad, None
    F.gelu(layer(x)).sum().backward()
    assert torch.equal(found, x.grad)


def test_an_exported_folded_model_has_public_operators_only():
    folded = gcvit.create_model("gcvit_pico", num_classes=5).fold()
    images = torch.randn(2, 3, 64, 64)
    graph = torch.export.export(folded, (images,))
    assert "mkldnn" not in str(graph.graph)
    assert torch.allclose(graph.module()(images), folded(images), atol=1e-5)


def test_the_folded_model_uses_it(monkeypatch):
    calls = []
    monkeypatch.setattr(kernel, "applies", lambda x, weight: calls.append(x.shape) or False)
    model = gcvit.create_model("gcvit_pico", num_classes=5)
    with torch.inference_mode():
        model.fold()(torch.randn(1, 3, 64, 64))
    assert len(calls) == 4 * sum(model.config.depths)
