"""From weights that are a function of their published names, our model computes what the published one computes."""

import json
from functools import cache
from pathlib import Path

import pytest
import torch

import gcvit
from gcvit.model import attention
from laws.models import relative_error
from laws.reference import reference_forward
from parity import fill

NVLABS = Path(__file__).parent / "nvlabs"
GOLDEN = json.loads((NVLABS / "golden.json").read_text(encoding="utf-8"))
TOLERANCE = 1e-5


def published_weights(name):
    return fill.weights(json.loads((NVLABS / f"{name}_keys.json").read_text(encoding="utf-8")))


@cache
def filled_model(name):
    model = gcvit.create_model(f"gcvit_{name}").eval()
    gcvit.load_weights(model, published_weights(name))
    return model


def check_golden(name, logits, maps, queries):
    """Queries as (batch, …) in any order of axes: their spread over an image is compared."""
    golden = GOLDEN[name]
    expected = torch.tensor(golden["logits"])
    error = relative_error(logits[:, :16], expected)
    assert error <= TOLERANCE, f"logits of {name}: relative error {error:.1e}"
    assert logits.argmax(1).tolist() == golden["argmax"]
    found = {
        "logit_norm": logits.norm(dim=1),
        "stage_mean": torch.stack([m.mean((1, 2, 3)) for m in maps]),
        "stage_std": torch.stack([m.flatten(1).std(1) for m in maps]),
        "query_std": torch.stack([q.flatten(1).std(1) for q in queries]),
    }
    for what, value in found.items():
        error = relative_error(value, torch.tensor(golden[what]))
        assert error <= TOLERANCE, f"{what} of {name}: relative error {error:.1e}"
    for stage, m in enumerate(maps):
        assert list(m.permute(0, 2, 3, 1).shape) == golden["stage_shape"][stage]


@torch.no_grad()
@pytest.mark.parametrize("name", GOLDEN)
def test_published_outputs(name):
    model, images = filled_model(name), fill.images(3, 224)
    trace = model.trace(images)
    check_golden(name, model(images), trace.maps, trace.queries)
    for stage, query in enumerate(trace.queries):
        batch, _, heads, tokens, size = GOLDEN[name]["query_shape"][stage]
        assert query.shape == (batch, heads, tokens, size)


@torch.no_grad()
def test_published_outputs_of_a_folded_copy():
    folded, images = filled_model("xxtiny").fold(), fill.images(3, 224)
    trace = folded.trace(images)
    check_golden("xxtiny", folded(images), trace.maps, trace.queries)


@torch.no_grad()
def test_the_plain_reference_computes_them_too():
    """So the laws' reference is the published model, and not merely equal to ours."""
    model = filled_model("xxtiny")
    out = reference_forward(model.config, model.state_dict(), fill.images(3, 224))
    check_golden("xxtiny", out["logits"], out["maps"], out["queries"])


@torch.no_grad()
def test_the_check_notices_a_small_mistake(monkeypatch):
    model, images = filled_model("xxtiny"), fill.images(3, 224)
    right = attention.RelativePositionBias.forward
    monkeypatch.setattr(attention.RelativePositionBias, "forward", lambda self: right(self).transpose(1, 2))
    trace = model.trace(images)
    with pytest.raises(AssertionError, match="logits of xxtiny"):
        check_golden("xxtiny", trace.logits, trace.maps, trace.queries)
    monkeypatch.undo()
    trace = model.trace(images)
    with pytest.raises(AssertionError, match="stage_mean of xxtiny"):
        check_golden("xxtiny", trace.logits, [m * 1.0001 for m in trace.maps], trace.queries)
    with pytest.raises(AssertionError, match="query_std of xxtiny"):
        check_golden("xxtiny", trace.logits, trace.maps, trace.queries[::-1])


def test_parameter_counts():
    assert {name: sum(p.numel() for p in filled_model(name).parameters()) for name in GOLDEN} == {
        "xxtiny": 11_995_428,
        "small": 51_092_173,
    }


def test_every_published_parameter_lands_somewhere_else():
    """The renaming is one to one: each filled tensor is found again, unchanged, exactly once."""
    weights = published_weights("xxtiny")
    landed = filled_model("xxtiny").state_dict()
    assert len(landed) == len(weights)
    assert fingerprints(landed) == fingerprints(weights)
    assert landed["stages.2.blocks.3.attention.kv.weight"].equal(weights["levels.2.blocks.3.attn.qkv.weight"])
    assert landed["stages.0.query.mbconvs.2.pointwise.weight"].equal(
        weights["levels.0.q_global_gen.to_q_global.2.conv.3.weight"]
    )


def fingerprints(state):
    return sorted((t.numel(), t.double().sum().item(), t.flatten()[0].item()) for t in state.values())
