"""Forms: each computes what the plain model does, or says why it cannot."""

import pytest
import torch

from gcvit.bench.building import build
from gcvit.bench.contenders import parse
from gcvit.bench.forms import Conditions, prepare
from gcvit.model.gcvit import Stage

CPU, GPU = torch.device("cpu"), torch.device("cuda")
SIZE, FP32 = (64, 64), Conditions(CPU)


def outputs(text, conditions=FP32):
    contender = parse(text)
    (model,) = build([contender], SIZE)
    images = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    model, forward = prepare(contender, model, images, conditions)
    found = forward()
    return model, found if isinstance(found, torch.Tensor) else found[0]


@pytest.fixture(scope="module")
def plain():
    return outputs("gcvit_pico")[1]


@pytest.mark.parametrize("form", ["folded", "channels_last", "sdpa"])
def test_forms_agree(plain, form):
    _, found = outputs(f"gcvit_pico:{form}")
    assert torch.dist(found, plain) < 1e-4 * plain.norm()


def test_ours_are_folded_before_they_are_exported():
    (model,) = build([parse("gcvit_pico:onnx:int8")], SIZE)
    assert model.folded


@pytest.mark.parametrize("form", ["torch-export", "onnx:int8", "openvino"])
def test_models_are_exported(form):
    """A small one of another package, in the same way as ours, whose files tests/export looks into."""
    if form != "torch-export":
        pytest.importorskip("onnxruntime" if "onnx" in form else "openvino")
    torch.manual_seed(0)
    expected = outputs("timm/test_convnext")[1]
    torch.manual_seed(0)
    found = outputs(f"timm/test_convnext:{form}")[1]
    least, most = (1e-4, 0.5) if "int8" in form else (0, 1e-4)
    assert least <= torch.dist(found, expected) / expected.norm() < most


def test_compilers_get_the_model(monkeypatch, plain):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda model, *, dynamic: asked.append(dynamic) or model)
    monkeypatch.setattr("gcvit.bench.forms.compile_blocks", lambda model: asked.append("blocks") or model)
    for form in ("compiled", "blocks"):
        assert torch.equal(outputs(f"gcvit_pico:{form}")[1], plain)
    assert asked == [False, "blocks"]


def test_the_kernel_is_off_in_sdpa(monkeypatch):
    monkeypatch.setattr("gcvit.model.gcvit.applies", lambda *_: True)
    images = torch.zeros(1, 16, 16, 32)
    usual, off = outputs("gcvit_pico:folded:sdpa")[0], build([parse("gcvit_pico:folded")], SIZE)[0]
    fused = [[stage.fused(images) for stage in model.modules() if isinstance(stage, Stage)] for model in (usual, off)]
    assert fused == [4 * [False], 4 * [True]]


def test_precisions(plain):
    model, autocast = outputs("gcvit_pico", Conditions(CPU, "bf16"))
    assert model.head.weight.dtype == torch.float32
    assert autocast.dtype == torch.bfloat16
    model, pure = outputs("gcvit_pico:folded", Conditions(CPU, "pure-bf16"))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    for found in (autocast, pure):
        assert 1e-5 < torch.dist(found.float(), plain) / plain.norm() < 0.1


def test_training_keeps_gradients_and_inference_none():
    model, found = outputs("gcvit_pico", Conditions(CPU, training=True))
    assert model.training
    assert found.requires_grad
    assert outputs("gcvit_pico")[1].is_inference()


@pytest.mark.parametrize(
    ("text", "conditions", "message"),
    [
        ("gcvit_pico:folded", Conditions(CPU, training=True), "folded cannot be trained"),
        ("gcvit_pico:onnx", Conditions(CPU, training=True), "onnx cannot be trained"),
        ("gcvit_pico:cudagraph", Conditions(CPU), "need a CUDA device"),
        ("gcvit_pico:onnx", Conditions(CPU, "bf16"), "in fp32"),
        ("gcvit_pico:onnx", Conditions(GPU), "--device cpu"),
    ],
)
def test_what_cannot_run(text, conditions, message):
    with pytest.raises(ValueError, match=message):
        conditions.check(parse(text))
    Conditions(CPU).check(parse("gcvit_pico:folded"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "pure-bf16"])
def test_a_recorded_graph_computes_the_same(precision):
    plain = outputs("gcvit_pico:folded", Conditions(GPU, precision))[1].float()
    found = outputs("gcvit_pico:folded:cudagraph", Conditions(GPU, precision))[1].float()
    assert torch.dist(found, plain) <= 1e-3 * plain.norm()
