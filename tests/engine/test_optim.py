"""Groups of parameters and the peak rate: every weight in one group, with the rate and the decay of its place."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.optim import param_groups_weight_decay
from torch import nn

from gcvit.engine.settings import OptimConfig
from gcvit.engine.state import create_optimizer, parameter_groups
from gcvit.errors import UserError


def block(width: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width))


@given(
    sizes=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    frozen=st.integers(0, 3),
    decay=st.sampled_from([0.5, 0.9, 1.0]),
)
def test_every_trainable_weight_is_in_one_group_with_the_rate_of_its_layer(
    sizes: Sequence[int], frozen: int, decay: float
) -> None:
    layers = [[block() for _ in range(size)] for size in sizes]
    head = block()
    model = nn.ModuleList([head, *(module for layer in layers for module in layer)])
    for layer in layers[:frozen]:
        for module in layer:
            module.requires_grad_(False)
    groups = parameter_groups(model, OptimConfig(layer_decay=decay, weight_decay=0.1), layers)
    found = [(weight, group["lr_scale"], group["weight_decay"]) for group in groups for weight in group["params"]]
    trainable = [weight for weight in model.parameters() if weight.requires_grad]
    assert sorted(id(weight) for weight, *_ in found) == sorted(map(id, trainable))
    expected = {
        weight: decay ** (len(layers) - n) for n, layer in enumerate(layers) for m in layer for weight in m.parameters()
    }
    for weight, scale, weight_decay in found:
        assert scale == pytest.approx(expected.get(weight, 1.0), rel=1e-12)
        assert weight_decay == (0.1 if weight.ndim > 1 else 0.0)


def test_without_layer_decay_the_groups_are_timms() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 4, bias=False), nn.LayerNorm(4))
    model[2].requires_grad_(False)

    def groups(found: list[dict]) -> set[tuple[float, frozenset[nn.Parameter]]]:
        return {(group["weight_decay"], frozenset(group["params"])) for group in found}

    ours = parameter_groups(model, OptimConfig(weight_decay=0.2), layers=[[model[0]]])
    assert groups(ours) == groups(param_groups_weight_decay(model, weight_decay=0.2))
    assert {group["lr_scale"] for group in ours} == {1.0}


def test_the_optimiser_is_fused_adamw_with_the_settings() -> None:
    optimizer = create_optimizer(block(), OptimConfig(lr=0.3, betas=(0.8, 0.7), eps=1e-5, weight_decay=0.4))
    assert isinstance(optimizer, torch.optim.AdamW)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.4, 0.0]
    for group in optimizer.param_groups:
        assert (group["lr"], group["betas"], group["eps"], group["fused"]) == (0.3, (0.8, 0.7), 1e-5, True)


@given(batch=st.integers(1, 10_000), reference=st.integers(1, 10_000), lr=st.floats(1e-6, 1.0))
def test_the_rate_is_linear_in_the_batch_when_it_is_meant_for_one(batch: int, reference: int, lr: float) -> None:
    config = OptimConfig(lr=lr, lr_batch=reference)
    assert config.peak_lr(reference) == pytest.approx(lr)
    assert config.peak_lr(2 * batch) == pytest.approx(2 * config.peak_lr(batch))
    assert OptimConfig(lr=lr).peak_lr(batch) == lr


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (OptimConfig(lr=2e-3), "peak learning rate 0.002 at 1024 images per update"),
        (OptimConfig(lr=2e-3, lr_batch=1024), "peak learning rate 0.002 at 1024 images per update"),
        (
            OptimConfig(lr=5e-3, lr_batch=4096, layer_decay=0.9),
            "peak learning rate 0.00125 at 1024 images per update: 0.005 was set for 4096, and it scales with the "
            "batch; ×0.9 for each layer further from the head",
        ),
    ],
)
def test_the_run_can_say_how_its_rate_came_about(config: OptimConfig, text: str) -> None:
    assert config.describe_lr(1024) == text


@pytest.mark.parametrize(("values", "message"), [({"lr_batch": 0}, "lr_batch"), ({"layer_decay": 1.1}, "layer_decay")])
def test_a_bad_value_is_named(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"{message} must be"):
        OptimConfig(**values)


class Parts(nn.Module):
    """A model of two parts, one of which has parts of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict({"stem": block(), "stages": nn.ModuleList([block(), block()])})
        self.backbone_norm = nn.LayerNorm(3)  # begins with another's name
        self.decode_head = block()


def scales(config: OptimConfig, layers: Sequence[Sequence[nn.Module]] = (), model: nn.Module | None = None) -> dict:
    model = model or Parts()
    names = {weight: name for name, weight in model.named_parameters()}
    groups = parameter_groups(model, config, layers)
    return {names[weight]: group["lr_scale"] for group in groups for weight in group["params"]}


PART_NAMES = st.sampled_from(["backbone", "backbone.stem", "backbone.stages", "backbone.stages.1", "decode_head"])


@given(factors=st.dictionaries(PART_NAMES, st.floats(0, 10)), decay=st.none() | st.floats(0.1, 1))
def test_each_weight_has_the_factor_of_the_smallest_part_that_it_is_in(factors: dict, decay: float | None) -> None:
    model = Parts()
    layers = [[model.backbone["stem"]], [model.backbone["stages"]]] if decay else []  # type: ignore[index]
    plain = scales(OptimConfig(layer_decay=decay), layers, model)
    found = scales(OptimConfig(layer_decay=decay, lr_parts=tuple(factors.items())), layers, model)
    assert found.keys() == plain.keys() == dict(model.named_parameters()).keys()
    for name, scale in found.items():
        parts = name.split(".")
        within = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
        factor = next((factors[part] for part in within if part in factors), 1.0)
        assert scale == pytest.approx(plain[name] * factor), name


def test_a_part_that_the_model_has_not_is_refused_with_those_that_it_has() -> None:
    for wrong in ("head", "backbone.ste", "backbone_", "decode_head."):
        with pytest.raises(UserError) as caught:
            scales(OptimConfig(lr_parts=(("backbone", 0.1), (wrong, 2.0))))
        assert f"no part '{wrong}'; it has backbone, backbone_norm, decode_head" in str(caught.value)
    with pytest.raises(UserError, match="lr_parts must be different parts"):
        OptimConfig(lr_parts=(("a", 1.0), ("a", 2.0)))
    with pytest.raises(UserError, match="lr_parts must be at most 1,000"):
        OptimConfig(lr_parts=(("a", 1001.0),))


def test_the_factors_are_told() -> None:
    said = OptimConfig(lr_parts=(("backbone", 0.1), ("decode_head", 2.0))).describe_lr(8)
    assert said.endswith("; ×0.1 in backbone, ×2 in decode_head")
