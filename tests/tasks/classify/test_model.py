"""Where a classifier's run starts: the weights' own model, another size, other classes."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gcvit.factory import create_model
from gcvit.model import GCViT
from gcvit.tasks.backbone import starting_weights
from gcvit.tasks.classify import ClassifyConfig
from gcvit.tasks.classify.data import input_size
from gcvit.tasks.classify.model import settled
from gcvit.weights.hub import save_hub
from gcvit.weights.preprocessing import Preprocessing
from tasks.building import built

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
    config = replace(ClassifyConfig(model="auto", weights=str(weights)), **changes)  # type: ignore[arg-type]
    return settled(config, starting_weights(config))


def build(config: ClassifyConfig, classes: list[str]) -> tuple[GCViT, Preprocessing, list[str]]:
    opened, notes = built(config, classes)
    assert isinstance(opened.model, GCViT)
    assert opened.classes == classes
    return opened.model, opened.preprocessing, notes


def test_auto_is_the_model_and_the_size_of_the_weights(run: Path, trained: GCViT, tmp_path: Path) -> None:
    for weights in (run, run / "best"):
        config = start(weights)
        assert (config.model, input_size(config)) == ("gcvit_pico", (64, 64))
    assert input_size(start(run, img_size=96)) == (96, 96)
    save_file(trained.state_dict(), tmp_path / "bare.safetensors")
    assert start(tmp_path / "bare.safetensors").model == "gcvit_pico"
    named = ClassifyConfig(model="gcvit_nano", weights="not looked at")
    assert settled(named, None) is named
    with pytest.raises(ValueError, match="model is auto, that of the weights, but no weights are given"):
        settled(ClassifyConfig(model="auto"), None)
    with pytest.raises(ValueError, match="nowhere"):
        start(tmp_path / "nowhere")


def test_the_same_classes_keep_the_head_and_the_preprocessing(run: Path, trained: GCViT) -> None:
    model, preprocessing, notes = build(start(run, crop_pct=0.5), LABELS)
    note = "\n".join(notes)
    assert torch.equal(model.eval()(IMAGES), trained(IMAGES))
    assert preprocessing == Preprocessing((64, 64), crop_pct=0.5, crop_mode="squash", mean=(0.1, 0.2, 0.3))
    assert "fresh head" not in note


@pytest.mark.parametrize("classes", [["dog", "bee"], ["bee", "cat", "dog", "ant"]])
def test_some_of_the_classes_keep_their_rows_of_the_head(run: Path, trained: GCViT, classes: list[str]) -> None:
    model, _, notes = build(start(run), classes)
    note = "\n".join(notes)
    torch.testing.assert_close(model.eval()(IMAGES), trained(IMAGES)[:, [LABELS.index(name) for name in classes]])
    assert f"({len(classes)} of its 4 classes)" in note


@pytest.mark.parametrize("classes", [["ant", "bee", "cat", "eel"], ["x", "y"]])
def test_other_classes_get_a_fresh_head_on_the_same_features(run: Path, trained: GCViT, classes: list[str]) -> None:
    model, _, notes = build(start(run), classes)
    note = "\n".join(notes)
    assert f"a fresh head for {len(classes)} classes (4 classes in the weights)" in note
    assert model.eval()(IMAGES).shape == (3, len(classes))
    torch.testing.assert_close(model.pyramid(IMAGES)[-1], trained.pyramid(IMAGES)[-1])
    assert not torch.isin(model.head.weight, trained.head.weight).any()


def test_weights_without_labels_keep_a_head_of_as_many_outputs(trained: GCViT, tmp_path: Path) -> None:
    save_file(trained.state_dict(), tmp_path / "bare.safetensors")
    model, preprocessing, _ = build(start(tmp_path / "bare.safetensors"), ["w", "x", "y", "z"])
    assert torch.equal(model.eval()(IMAGES), trained(IMAGES))
    assert preprocessing == Preprocessing((64, 64))
    _, _, notes = build(start(tmp_path / "bare.safetensors"), ["w", "x"])
    note = "\n".join(notes)
    assert "a fresh head for 2 classes" in note


@pytest.mark.parametrize("size", [96, (64, 128)])
def test_another_size_resizes_windows_and_tables_and_says_so(
    run: Path, trained: GCViT, size: int | tuple[int, int]
) -> None:
    model, preprocessing, notes = build(start(run, img_size=size), LABELS)
    note = "\n".join(notes)
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
        _, preprocessing, _ = build(ClassifyConfig(model="gcvit_large_384_21k", crop_pct=1.0), LABELS)
    assert preprocessing == Preprocessing((384, 384), crop_pct=1.0, crop_mode="squash")
