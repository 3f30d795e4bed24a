"""Models that share weights: equal until one of them is wrong."""

import pytest
import torch

from gcvit.bench.building import Twins, build, tolerance, twin_of
from gcvit.bench.contenders import parse
from gcvit.model.gcvit import GCViT

SIZE = (128, 128)  # the smallest at which timm's windows and ours are the same, several of them in the first stages
TWINS = [parse(text) for text in ("timm/gcvit_xxtiny", "gcvit_xxtiny", "gcvit_xxtiny:folded")]


@pytest.fixture(scope="module")
def twins():
    return build(TWINS, SIZE)


@torch.inference_mode()
def differences(models):
    images = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    compared = Twins("model", 1e-4)
    return [compared.difference(contender, model(images)) for contender, model in zip(TWINS, models, strict=True)]


def test_twins_are_equal(twins):
    first, *others = differences(twins)
    assert first is None
    assert all(0 <= other < 1e-5 for other in others)
    assert isinstance(twins[2], GCViT)
    assert not any(parameter.requires_grad for parameter in twins[2].parameters())


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_a_wrong_twin_is_found(twins, value):
    table = twins[1].stages[2].blocks[3].attention.bias.table
    kept = table.detach().clone()
    with torch.no_grad():
        table.fill_(value)
    try:
        with pytest.raises(ValueError, match="gcvit_xxtiny and timm/gcvit_xxtiny have the same weights"):
            differences(twins)
    finally:
        with torch.no_grad():
            table.copy_(kept)


def test_the_difference_is_relative_and_over_all_maps():
    compared = Twins("backbone", 1.0)
    contender = parse("gcvit_pico")
    assert compared.difference(contender, [torch.tensor([3.0, 0.0]), torch.tensor([4.0])]) is None
    apart = compared.difference(contender, [torch.tensor([3.0, 0.3]), torch.tensor([4.4])])
    assert apart == pytest.approx(0.1)


def test_int8_is_reported_not_refused():
    compared = Twins("model", 1e-4)
    compared.difference(parse("gcvit_pico"), torch.ones(2))
    assert compared.difference(parse("gcvit_pico:onnx:int8"), 2 * torch.ones(2)) == pytest.approx(1)
    with pytest.raises(ValueError, match="gcvit_pico:onnx and gcvit_pico"):
        compared.difference(parse("gcvit_pico:onnx"), 2 * torch.ones(2))


def test_tolerances():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert tolerance("fp32", cpu) < tolerance("fp32", gpu) < tolerance("bf16", cpu) == tolerance("pure-bf16", gpu)


def test_without_the_same_weights_models_keep_their_own():
    contenders = [parse("gcvit_pico"), parse("gcvit_pico")]
    apart = build(contenders, (64, 64), same_weights=False)
    assert not torch.equal(apart[0].head.weight, apart[1].head.weight)
    alike = build(contenders, (64, 64), same_weights=True)
    assert torch.equal(alike[0].head.weight, alike[1].head.weight)


def test_a_size_at_which_windows_differ():
    with pytest.raises(ValueError, match="windows of other sizes"):
        build(TWINS[:2], (64, 64))


def test_backbones_of_timm_have_no_twin():
    assert twin_of(parse("timm/gcvit_tiny"), "backbone") is None
    assert twin_of(parse("timm/gcvit_tiny"), "model") == twin_of(parse("gcvit_tiny"), "backbone") == "gcvit_tiny"
