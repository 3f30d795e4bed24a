"""Layer-wise learning rates: every parameter in one group, groups in the order of the forward pass."""

from itertools import pairwise

import pytest
import timm
from timm.models import group_parameters
from timm.optim import create_optimizer_v2, param_groups_layer_decay

import gcvit.timm_models  # noqa: F401  importing it registers the names

DECAY = 0.5


def order(model):
    """Prefixes of the layers in the order in which an image meets them."""
    for stage, depth in enumerate(model.config.depths):
        for block in range(depth):
            yield f"stages.{stage}.blocks.{block}."
        if stage < 3:
            yield f"stages.{stage}.downsample."


@pytest.mark.parametrize("name", ["gc_vit_pico", "gc_vit_small"])
def test_layers_are_ordered_by_depth(name):
    model = timm.create_model(name, device="meta")
    layer = group_parameters(model, model.group_matcher(), reverse=True)
    assert set(layer) == {n for n, _ in model.named_parameters()}
    layers = ["stem.", *order(model), "head."]
    for name, number in layer.items():
        stage = name.split(".")[1]
        if ".query." in name:
            assert number == layer[f"stages.{stage}.blocks.0.norm1.weight"]
        elif name.startswith("norm."):
            assert number == layer[f"stages.3.blocks.{model.config.depths[3] - 1}.norm1.weight"]
        else:
            (position,) = [i for i, prefix in enumerate(layers) if name.startswith(prefix)]
            assert number == position


def test_coarse_groups_are_stem_stages_and_head():
    model = timm.create_model("gc_vit_pico", device="meta")
    layer = group_parameters(model, model.group_matcher(coarse=True), reverse=True)
    assert set(layer) == {n for n, _ in model.named_parameters()}
    for name, number in layer.items():
        first, second = name.split(".")[:2]
        assert number == {"stem": 0, "norm": 4, "head": 5}.get(first, 1 + int(second) if second.isdigit() else None)


def test_layer_decay_scales_grow_by_one_step_towards_the_head():
    model = timm.create_model("gc_vit_pico", device="meta")
    groups = param_groups_layer_decay(model, weight_decay=0.05, layer_decay=DECAY)
    names = {parameter: name for name, parameter in model.named_parameters()}
    scale = {names[p]: group["lr_scale"] for group in groups for p in group["params"]}
    assert len(scale) == sum(len(group["params"]) for group in groups) == len(names)
    steps = sorted(set(scale.values()))
    assert steps[-1] == scale["head.weight"] == 1
    assert steps[0] == scale["stem.conv.weight"]
    assert all(low == pytest.approx(DECAY * high) for low, high in pairwise(steps))
    assert len(steps) == 2 + sum(model.config.depths) + 3
    decayed = {names[p] for group in groups if group["weight_decay"] for p in group["params"]}
    assert decayed == {name for name, p in model.named_parameters() if p.ndim > 1}
    assert "stages.0.blocks.0.attention.bias.table" in decayed


def test_timm_optimizers_take_the_model():
    model = timm.create_model("gc_vit_pico", layer_scale=1e-5)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-3, weight_decay=0.05, layer_decay=DECAY)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))
    assert model.no_weight_decay() == set()
