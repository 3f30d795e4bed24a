"""What every task asks of its GC ViT: fixed stages, layers by depth, weights of the same model, less to keep."""

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from timm.optim import param_groups_layer_decay
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gcvit.engine.settings import OptimConfig
from gcvit.engine.state import create_optimizer, parameter_groups
from gcvit.factory import create_model
from gcvit.model import GCViT
from gcvit.tasks.backbone import backbone_of, layers
from gcvit.tasks.classify import ClassifyConfig
from gcvit.tasks.config import ArchConfig, RunConfig
from gcvit.tasks.segment import SceneAugmentConfig, SegmentConfig, UPerNetConfig
from gcvit.weights.hub import save_hub
from gcvit.weights.preprocessing import Preprocessing
from tasks.building import built
from tasks.segmenters import matter

CLASSES = ["ant", "bee", "cat", "dog"]
IMAGES = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
CONFIGS = {
    "classify": ClassifyConfig(model="gcvit_pico"),
    "segment": SegmentConfig(
        model="gcvit_pico",
        head=UPerNetConfig(channels=8, aux_channels=8, norm="group"),
        augment=SceneAugmentConfig(crop=(64, 64)),
    ),
}
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with a classifier in best/, in which every number matters."""
    model = matter(create_model("gcvit_pico", num_classes=len(CLASSES))).float()
    assert isinstance(model, GCViT)
    run = tmp_path_factory.mktemp("runs") / "run"
    save_hub(model, run / "best", preprocessing=Preprocessing((64, 64)), labels=CLASSES)
    return run


def loss_of(model: nn.Module) -> Tensor:
    """One that every head adds to."""
    found = model(IMAGES)
    if isinstance(found, Tensor):
        return found.square().mean()
    return found.logits.square().mean() + found.auxiliary.square().mean()


def in_backbone(name: str) -> str | None:
    """The name of a weight in the GC ViT; None for one of the heads."""
    name = name.removeprefix("backbone.")
    return name if name.startswith(("stem.", "stages.")) else None


@every_config
@pytest.mark.parametrize("stages", [1, 3, 4])
def test_frozen_stages_are_fixed_features_and_the_rest_learns(config: RunConfig, weights: Path, stages: int) -> None:
    opened, notes = built(replace(config, weights=str(weights), freeze_stages=stages, drop_path=0.5), CLASSES)
    model = opened.model.train()
    backbone = backbone_of(model)
    optimizer = create_optimizer(model, OptimConfig(layer_decay=0.9), layers(model))
    ema = ModelEmaV3(model, 0.5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, again = (backbone.pyramid(IMAGES)[stages - 1] for _ in range(2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)  # no noise, although the model is in training
    torch.manual_seed(0)
    for step in range(5):
        loss_of(model).backward()
        optimizer.step()
        optimizer.zero_grad()
        ema.update(model, step)
    prefixes = ("stem.", *(f"stages.{stage}." for stage in range(stages)))
    averaged = ema.module.state_dict()
    for name, value in model.state_dict().items():
        frozen = (in_backbone(name) or "").startswith(prefixes)
        assert torch.equal(value, before[name]) == frozen, name
        assert torch.equal(averaged[name], before[name]) == frozen, name
    learned = sum(weight.numel() for group in optimizer.param_groups for weight in group["params"])
    assert f"stay as they are; {learned / 1e6:.2f} M parameters are trained" in notes[-1]


@every_config
def test_frozen_stages_do_not_hold_up_the_other_processes(config: RunConfig, weights: Path, tmp_path: Path) -> None:
    """A wrapper that waited for their gradients would fail in the second step."""
    model = built(replace(config, weights=str(weights), freeze_stages=2), CLASSES)[0].model.train()
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        wrapped = DistributedDataParallel(model, gradient_as_bucket_view=True)
        for _ in range(2):
            loss_of(wrapped).backward()
    finally:
        dist.destroy_process_group()
    frozen = ("stem.", "stages.0.", "stages.1.")
    assert {name for name, weight in model.named_parameters() if weight.grad is None} == {
        name for name, _ in model.named_parameters() if (in_backbone(name) or "").startswith(frozen)
    }


@every_config
def test_without_freezing_the_paths_are_dropped(config: RunConfig, weights: Path) -> None:
    """So that the first test can fail."""
    model = built(replace(config, weights=str(weights), drop_path=0.9), CLASSES)[0].model.train()
    first, again = (backbone_of(model).pyramid(IMAGES)[3] for _ in range(2))
    assert not torch.allclose(first, again)


@every_config
def test_stages_that_have_learned_nothing_are_not_frozen(config: RunConfig) -> None:
    with pytest.raises(ValueError, match="freeze_stages keeps learned weights"):
        built(replace(config, freeze_stages=1), CLASSES)


@every_config
@pytest.mark.parametrize("bare", [False, True])
def test_weights_of_another_model_are_named(config: RunConfig, weights: Path, tmp_path: Path, bare: bool) -> None:
    source = weights
    if bare:
        source = tmp_path / "bare.safetensors"
        save_file(create_model("gcvit_pico", num_classes=4).state_dict(), source)
    message = "holds the weights of gcvit_pico, but model is gcvit_nano; set model to gcvit_pico"
    with pytest.raises(ValueError, match=message):
        built(replace(config, model="gcvit_nano", weights=str(source)), CLASSES)
    message = r"holds the weights of gcvit_pico, but model is gcvit_pico with another architecture \(arch\)"
    with pytest.raises(ValueError, match=message):
        built(replace(config, arch=ArchConfig(depths=(2, 2, 4, 2)), weights=str(source)), CLASSES)


@every_config
def test_what_only_training_needs_may_differ_from_the_weights(config: RunConfig, weights: Path) -> None:
    arch = ArchConfig(dropout=0.2, attention_dropout=0.1)
    opened, _ = built(replace(config, arch=arch, drop_path=0.3, weights=str(weights)), CLASSES)
    expected, _ = built(replace(config, weights=str(weights)), CLASSES)
    assert backbone_of(opened.model).config.dropout == 0.2
    for ours, theirs in zip(*(backbone_of(o.model).eval().pyramid(IMAGES) for o in (opened, expected)), strict=True):
        assert torch.equal(ours, theirs)


@every_config
def test_pretrained_needs_published_weights(config: RunConfig) -> None:
    with pytest.raises(ValueError, match="gcvit_pico"):
        built(replace(config, pretrained=True), CLASSES)


@every_config
def test_less_is_kept_where_it_is_asked_for_and_the_gradients_stay(config: RunConfig, weights: Path) -> None:
    """Kept: the activations that the backward pass finds, counted as it packs them."""
    gradients, kept = [], []
    for enabled in (False, True):
        torch.manual_seed(4)
        asked = replace(config, weights=str(weights), grad_checkpointing=enabled, drop_path=0.5)
        model = built(asked, CLASSES)[0].model.train()
        held: list[int] = []

        def pack(x: Tensor, held: list[int] = held) -> Tensor:
            held.append(x.numel())
            return x

        torch.manual_seed(5)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            loss = loss_of(model)
        loss.backward()
        kept.append(sum(held))
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert kept[1] < 0.6 * kept[0]
    assert gradients[0].keys() == gradients[1].keys()
    assert [name for name in gradients[0] if not torch.equal(gradients[0][name], gradients[1][name])] == []


def rates(model: nn.Module, groups: list[dict]) -> dict[str, tuple[float, float]]:
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[p]: (group["lr_scale"], group["weight_decay"]) for group in groups for p in group["params"]}


@pytest.mark.parametrize("name", ["pico", "small"])
def test_layers_decay_as_timms_own_groups_but_for_the_norm(name: str) -> None:
    """timm counts the last norm to the last block; here it lies on top, with the head."""
    with torch.device("meta"):
        ours, theirs = create_model(f"gcvit_{name}"), timm.create_model(f"gc_vit_{name}")
    found = rates(ours, parameter_groups(ours, OptimConfig(layer_decay=0.8, weight_decay=0.1), layers(ours)))
    expected = rates(theirs, param_groups_layer_decay(theirs, weight_decay=0.1, layer_decay=0.8))
    assert found.keys() == expected.keys()
    for key, rate in found.items():
        assert rate == pytest.approx((1.0, 0.0) if key.startswith("norm.") else expected[key]), key
    assert (
        min(scale for scale, _ in found.values())
        == found["stem.conv.weight"][0]
        == pytest.approx(0.8 ** len(layers(ours)))
    )
    assert len(layers(ours)) == 1 + sum(ours.config.depths) + 3


@every_config
def test_what_stands_on_the_backbone_lies_on_top(config: RunConfig) -> None:
    model = built(config, CLASSES)[0].model
    found = rates(model, parameter_groups(model, OptimConfig(layer_decay=0.5), layers(model)))
    scales = {name: scale for name, (scale, _) in found.items()}
    assert set(scales) == set(dict(model.named_parameters()))
    assert {scale for name, scale in scales.items() if in_backbone(name) is None} == {1.0}
    stem = next(name for name in scales if name.endswith("stem.conv.weight"))
    assert scales[stem] == pytest.approx(0.5 ** len(layers(model)))
    assert max(scale for name, scale in scales.items() if in_backbone(name) is not None) == 0.5
