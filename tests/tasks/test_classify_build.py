"""Where a run starts: the weights' own model, another size, other classes, fixed stages, layers by depth."""

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from timm.optim import param_groups_layer_decay
from timm.utils import ModelEmaV3
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from gcvit.engine.optim import OptimConfig, create_optimizer, parameter_groups
from gcvit.factory import create_model
from gcvit.model import GCViT
from gcvit.tasks.classify import ClassifyConfig
from gcvit.tasks.classify.build import build_model, input_size, settled
from gcvit.tasks.layers import layers
from gcvit.weights.hub import save_hub
from gcvit.weights.preprocessing import Preprocessing

LABELS = ["ant", "bee", "cat", "dog"]
IMAGES = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def trained() -> GCViT:
    """A model whose every number matters."""
    torch.manual_seed(1)
    model = create_model("gcvit_pico", num_classes=len(LABELS)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def run(trained: GCViT, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with the model in best/, saved with preprocessing of its own."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    preprocessing = Preprocessing((64, 64), crop_pct=0.9, crop_mode="squash", mean=(0.1, 0.2, 0.3))
    save_hub(trained, folder / "best", preprocessing=preprocessing, labels=LABELS)
    return folder


def start(weights: Path, **changes: object) -> ClassifyConfig:
    return settled(replace(ClassifyConfig(model="auto", weights=str(weights)), **changes))  # type: ignore[arg-type]


def test_auto_is_the_model_and_the_size_of_the_weights(run: Path, trained: GCViT, tmp_path: Path) -> None:
    for weights in (run, run / "best"):
        config = start(weights)
        assert (config.model, input_size(config)) == ("gcvit_pico", (64, 64))
    assert input_size(start(run, img_size=96)) == (96, 96)
    save_file(trained.state_dict(), tmp_path / "bare.safetensors")
    assert start(tmp_path / "bare.safetensors").model == "gcvit_pico"
    named = ClassifyConfig(model="gcvit_nano", weights="not looked at")
    assert settled(named) is named
    with pytest.raises(ValueError, match="model is auto, that of the weights, but no weights are given"):
        settled(ClassifyConfig(model="auto"))
    with pytest.raises(ValueError, match="nowhere"):
        settled(ClassifyConfig(model="auto", weights=str(tmp_path / "nowhere")))


def test_the_same_classes_keep_the_head_and_the_preprocessing(run: Path, trained: GCViT) -> None:
    model, preprocessing, (note,) = build_model(start(run, crop_pct=0.5), LABELS)
    assert torch.equal(model.eval()(IMAGES), trained(IMAGES))
    assert preprocessing == Preprocessing((64, 64), crop_pct=0.5, crop_mode="squash", mean=(0.1, 0.2, 0.3))
    assert "fresh head" not in note


@pytest.mark.parametrize("classes", [["dog", "bee"], ["bee", "cat", "dog", "ant"]])
def test_some_of_the_classes_keep_their_rows_of_the_head(run: Path, trained: GCViT, classes: list[str]) -> None:
    model, _, (note,) = build_model(start(run), classes)
    torch.testing.assert_close(model.eval()(IMAGES), trained(IMAGES)[:, [LABELS.index(name) for name in classes]])
    assert f"({len(classes)} of its 4 classes)" in note


@pytest.mark.parametrize("classes", [["ant", "bee", "cat", "eel"], ["x", "y"]])
def test_other_classes_get_a_fresh_head_on_the_same_features(run: Path, trained: GCViT, classes: list[str]) -> None:
    model, _, (note,) = build_model(start(run), classes)
    assert f"a fresh head for {len(classes)} classes (4 classes in the weights)" in note
    assert model.eval()(IMAGES).shape == (3, len(classes))
    torch.testing.assert_close(model.pyramid(IMAGES)[-1], trained.pyramid(IMAGES)[-1])
    assert not torch.isin(model.head.weight, trained.head.weight).any()


def test_weights_without_labels_keep_a_head_of_as_many_outputs(trained: GCViT, tmp_path: Path) -> None:
    save_file(trained.state_dict(), tmp_path / "bare.safetensors")
    model, preprocessing, _ = build_model(start(tmp_path / "bare.safetensors"), ["w", "x", "y", "z"])
    assert torch.equal(model.eval()(IMAGES), trained(IMAGES))
    assert preprocessing == Preprocessing((64, 64))
    _, _, (note,) = build_model(start(tmp_path / "bare.safetensors"), ["w", "x"])
    assert "a fresh head for 2 classes" in note


@pytest.mark.parametrize("size", [96, (64, 128)])
def test_another_size_resizes_windows_and_tables_and_says_so(
    run: Path, trained: GCViT, size: int | tuple[int, int]
) -> None:
    model, preprocessing, (note,) = build_model(start(run, img_size=size), LABELS)
    assert "bias tables resized from windows of 4×4 to " in note
    assert preprocessing.size == model.config.img_size == ((96, 96) if size == 96 else size)
    twin = create_model("gcvit_pico", num_classes=len(LABELS)).eval()
    twin.load_state_dict(trained.state_dict())
    twin.set_input_size(size)
    images = torch.randn(2, 3, *model.config.img_size)
    logits = model.eval()(images)
    assert logits.isfinite().all()
    torch.testing.assert_close(logits, twin(images))


def test_published_preprocessing_where_the_weights_say_none() -> None:
    """The 384 px model was evaluated on squashed images; a recipe that names it means that."""
    with torch.device("meta"):
        _, preprocessing, _ = build_model(ClassifyConfig(model="gcvit_large_384_21k", crop_pct=1.0), LABELS)
    assert preprocessing == Preprocessing((384, 384), crop_pct=1.0, crop_mode="squash")


@pytest.mark.parametrize("bare", [False, True])
def test_weights_of_another_model_are_named(run: Path, trained: GCViT, tmp_path: Path, bare: bool) -> None:
    weights = run
    if bare:
        weights = tmp_path / "bare.safetensors"
        save_file(trained.state_dict(), weights)
    message = "holds the weights of gcvit_pico, but model is gcvit_nano; set model to gcvit_pico, or to auto"
    with pytest.raises(ValueError, match=message):
        build_model(ClassifyConfig(model="gcvit_nano", weights=str(weights)), LABELS)


@pytest.mark.parametrize("stages", [1, 3, 4])
def test_frozen_stages_are_fixed_features_and_the_rest_learns(run: Path, stages: int) -> None:
    config = start(run, freeze_stages=stages, drop_path=0.5)
    model, _, notes = build_model(config, LABELS)
    model.train()
    optimizer = create_optimizer(model, OptimConfig(layer_decay=0.9), layers(model))
    ema = ModelEmaV3(model, 0.5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, again = (model.pyramid(IMAGES)[stages - 1] for _ in range(2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)  # no noise, although the model is in training
    torch.manual_seed(0)
    for step in range(5):
        cross_entropy(model(IMAGES), torch.tensor([0, 1, 2])).backward()
        optimizer.step()
        optimizer.zero_grad()
        ema.update(model, step)
    prefixes = ("stem.", *(f"stages.{stage}." for stage in range(stages)))
    averaged = ema.module.state_dict()
    for name, value in model.state_dict().items():
        frozen = name.startswith(prefixes)
        assert torch.equal(value, before[name]) == frozen, name
        assert torch.equal(averaged[name], before[name]) == frozen, name
    learned = sum(weight.numel() for group in optimizer.param_groups for weight in group["params"])
    assert f"stay as they are; {learned / 1e6:.2f} M parameters are trained" in notes[-1]


def test_frozen_stages_do_not_hold_up_the_other_processes(run: Path, tmp_path: Path) -> None:
    """A wrapper that waited for their gradients would fail in the second step."""
    model, _, _ = build_model(start(run, freeze_stages=2), LABELS)
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        wrapped = DistributedDataParallel(model, gradient_as_bucket_view=True)
        for _ in range(2):
            wrapped(IMAGES).sum().backward()
    finally:
        dist.destroy_process_group()
    assert {name for name, weight in model.named_parameters() if weight.grad is None} == {
        name for name, _ in model.named_parameters() if name.startswith(("stem.", "stages.0.", "stages.1."))
    }


def test_without_freezing_the_paths_are_dropped(run: Path) -> None:
    """So that the test before this one can fail."""
    model, _, _ = build_model(start(run, drop_path=0.9), LABELS)
    first, again = (model.train().pyramid(IMAGES)[3] for _ in range(2))
    assert not torch.allclose(first, again)


def test_stages_that_have_learned_nothing_are_not_frozen() -> None:
    with pytest.raises(ValueError, match="freeze_stages keeps learned weights"):
        build_model(ClassifyConfig(model="gcvit_pico", freeze_stages=1), LABELS)


@pytest.mark.parametrize("name", ["pico", "small"])
def test_layers_decay_as_timms_own_groups_but_for_the_norm(name: str) -> None:
    """timm counts the last norm to the last block; here it lies on top, with the head."""
    with torch.device("meta"):
        ours, theirs = create_model(f"gcvit_{name}"), timm.create_model(f"gc_vit_{name}")

    def rates(model: torch.nn.Module, groups: list[dict]) -> dict[str, tuple[float, float]]:
        names = {parameter: name for name, parameter in model.named_parameters()}
        return {names[p]: (group["lr_scale"], group["weight_decay"]) for group in groups for p in group["params"]}

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
