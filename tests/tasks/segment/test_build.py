"""Where a run starts: a classifier's weights, a segmentation model's, its classes by name, and batch norm's needs."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import gcvit
from gcvit import distributed
from gcvit.factory import create_model
from gcvit.model import GCViT
from gcvit.tasks.segment.config import SceneAugmentConfig, SegmentConfig
from gcvit.tasks.segment.segmenter import Segmenter
from gcvit.tasks.segment.settings import UPerNetConfig
from gcvit.weights import checks
from gcvit.weights.hub import save_hub
from gcvit.weights.loading import load_weights
from gcvit.weights.preprocessing import Preprocessing
from tasks.building import built
from tasks.segmenters import matter

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
HEAD = UPerNetConfig(channels=16, aux_channels=8, bins=(1, 2))
CONFIG = SegmentConfig(
    model="gcvit_pico", head=HEAD, augment=SceneAugmentConfig(crop=(64, 64)), precision="fp32", batch_size=16
)
CLASSES = ["sky", "road", "tree"]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = matter(create_model("gcvit_pico", num_classes=4)).float()
    assert isinstance(model, GCViT)
    folder = tmp_path_factory.mktemp("classifier") / "best"
    return save_hub(model, folder, preprocessing=Preprocessing((64, 64)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segmentation run's folder."""
    opened, _ = built(CONFIG, CLASSES)
    run = tmp_path_factory.mktemp("runs") / "run"
    opened.task.save(opened, matter(opened.model, seed=3).float(), run / "best", {})
    return run


def build(config: SegmentConfig, classes: list[str], device: str = "cpu") -> tuple[Segmenter, list[str]]:
    opened, notes = built(config, classes, device)
    assert isinstance(opened.model, Segmenter)
    assert opened.classes == classes
    return opened.model, notes


def start(weights: Path, **changes: object) -> SegmentConfig:
    return replace(CONFIG, weights=str(weights), **changes)  # type: ignore[arg-type]


def test_windows_are_chosen_for_the_crop_unless_a_size_is_given() -> None:
    augment = SceneAugmentConfig(crop=(64, 160))
    model, notes = build(replace(CONFIG, augment=augment, drop_path=0.3), CLASSES)
    config = model.backbone.config
    assert (config.img_size, config.drop_path, model.classes, notes) == ((64, 160), 0.3, 3, [])
    sized = build(replace(CONFIG, augment=augment, img_size=96, windows=(3, 4, 5, 2)), CLASSES)[0]
    assert sized.backbone.config.img_size == (96, 96)
    assert sized.backbone.config.stage_windows == ((3, 3), (4, 4), (5, 5), (2, 2))


@pytest.mark.parametrize("bare", [False, True])
def test_a_classifier_gives_its_backbone_strictly(classifier: Path, tmp_path: Path, bare: bool) -> None:
    weights = classifier
    expected = create_model("gcvit_pico", num_classes=4)
    load_weights(expected, str(classifier))
    if bare:
        weights = tmp_path / "bare.safetensors"
        save_file(expected.state_dict(), weights)
    model, notes = build(start(weights), CLASSES)
    state = expected.state_dict()
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, state[name]), name
    for ours, theirs in zip(model.eval().backbone.pyramid(IMAGES), expected.eval().pyramid(IMAGES), strict=True):
        assert torch.equal(ours, theirs)
    assert "not used: head.weight, head.bias, norm.weight, norm.bias" in "\n".join(notes)
    assert "the heads are fresh" in notes[-1]


def test_other_windows_resize_the_tables_and_say_so(classifier: Path, trained: Path) -> None:
    for weights in (classifier, trained):
        model, notes = build(start(weights, windows=(6, 4, 5, 2)), CLASSES)
        assert "bias tables resized from windows of 4×4 to 6×6" in "\n".join(notes)
        assert model.eval()(IMAGES).logits.isfinite().all()


def test_weights_of_another_model_are_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds the weights of gcvit_pico, but model is gcvit_nano; set model to"):
        build(start(trained, model="gcvit_nano"), CLASSES)
    save_file({"conv.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="not a GC ViT"):
        build(start(tmp_path / "other.safetensors"), CLASSES)
    with pytest.raises(ValueError, match="no such file"):
        build(start(tmp_path / "nothing"), CLASSES)


def test_a_segmentation_run_gives_everything(trained: Path) -> None:
    model, notes = build(start(trained), CLASSES)
    expected = gcvit.open(trained).model
    state = expected.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(model.eval()(IMAGES).logits, expected(IMAGES).logits)
    assert "those of the 3 classes" in notes[-1]


@pytest.mark.parametrize("classes", [["tree", "sky"], ["tree", "road", "sky"], ["car", "road", "bus", "sky"]])
def test_classes_keep_their_rows_by_name(trained: Path, classes: list[str]) -> None:
    model, notes = build(start(trained), classes)
    expected = build(start(trained), CLASSES)[0].eval()
    known = [name for name in classes if name in CLASSES]
    here, there = [classes.index(name) for name in known], [CLASSES.index(name) for name in known]
    logits, reference = (m.train(True)(IMAGES) for m in (_quiet(model), _quiet(expected)))
    torch.testing.assert_close(logits.logits[:, here], reference.logits[:, there])
    assert logits.auxiliary is not None
    assert reference.auxiliary is not None
    torch.testing.assert_close(logits.auxiliary[:, here], reference.auxiliary[:, there])
    assert ("FRESH" in notes[-1]) == (len(known) < len(classes))
    assert not any("not used" in note for note in notes)
    if "car" in classes:
        assert "for 2 of 4 classes" in notes[-1]
        assert notes[-1].endswith("car, bus")
        weight, old = model.decode_head.classifier.weight, expected.decode_head.classifier.weight
        assert not torch.isin(weight[[0, 2]], old).any()


def _quiet(model: Segmenter) -> Segmenter:
    for module in model.modules():
        if isinstance(module, nn.Dropout2d):
            module.p = 0.0
    return model


def test_no_known_class_is_a_fresh_classifier_said_loudly(trained: Path) -> None:
    model, notes = build(start(trained), ["a", "b", "c"])
    assert "FRESH rows in the classifier for 3 of 3 classes" in notes[-1]
    assert model.decode_head.classifier.weight.abs().max() < 0.1  # the trained one's are of the order of 1/4
    expected = build(start(trained), CLASSES)[0]
    assert torch.equal(model.decode_head.fusion.conv.weight, expected.decode_head.fusion.conv.weight)


def test_names_that_are_there_twice_are_nobodys(trained: Path) -> None:
    _, notes = build(start(trained), ["sky", "sky", "road"])
    assert "FRESH rows in the classifier for 2 of 3 classes" in notes[-1]


def test_heads_of_another_kind_are_refused_with_what_to_set(trained: Path) -> None:
    for change, said in (
        ({"channels": 24}, r"give --channels 16"),
        ({"norm": "group"}, r"give --norm batch"),
        ({"bins": (1, 3)}, r"give --bins 1 2"),
        ({"aux_channels": 4}, r"give --aux-channels 8"),
    ):
        with pytest.raises(ValueError, match=said):
            build(start(trained, head=replace(HEAD, **change)), CLASSES)  # type: ignore[arg-type]


def test_what_only_training_needs_may_differ(trained: Path, tmp_path: Path) -> None:
    without, notes = build(start(trained, head=replace(HEAD, aux_weight=0.0, dropout=0.5)), CLASSES)
    assert without.auxiliary_head is None
    assert "the auxiliary head is not used" in notes
    opened, _ = built(CONFIG, CLASSES)
    opened.task.save(opened, without, tmp_path, {})
    model, notes = build(start(tmp_path), CLASSES)
    assert model.auxiliary_head is not None
    assert "the auxiliary head is fresh" in notes


def test_batch_norm_on_few_images_is_warned_of_and_on_one_refused() -> None:
    for batch, passes, warned in ((8, 1, False), (16, 2, False), (4, 1, True), (16, 4, True)):
        _, notes = build(replace(CONFIG, batch_size=batch, accumulate=passes), CLASSES)
        assert bool(notes) == warned, (batch, passes)
        assert all("--norm group" in note and f"{batch // passes} images" in note for note in notes)
    with pytest.raises(ValueError, match=r"at least 2 images at once.*--norm group"):
        build(replace(CONFIG, batch_size=2, accumulate=2), CLASSES)
    group = replace(CONFIG, batch_size=2, accumulate=2, head=replace(HEAD, norm="group"))
    model, notes = build(group, CLASSES)
    assert notes == []
    model.train()(IMAGES[:1]).logits.sum().backward()


@pytest.mark.parametrize(("device", "synchronised"), [("cuda", True), ("cpu", False)])
def test_batch_norm_goes_over_all_gpus_together(
    device: str, synchronised: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: 4)
    model, notes = build(replace(CONFIG, batch_size=8), CLASSES, device)
    kinds = {type(module) for module in model.modules() if isinstance(module, nn.SyncBatchNorm | nn.BatchNorm2d)}
    assert kinds == {nn.SyncBatchNorm if synchronised else nn.BatchNorm2d}
    assert isinstance(model, Segmenter)
    assert ("from 2 images" in "".join(notes)) != synchronised
    assert list(model.state_dict()) == list(Segmenter(model.backbone, 3, HEAD).state_dict())


def test_every_weight_is_read_once(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr(checks, "_is_finite", lambda weight, dtype: read.append(weight) or True)
    build(start(trained), CLASSES)
    state = load_file(trained / "best" / "model.safetensors")
    assert sorted(weight.shape for weight in read) == sorted(weight.shape for weight in state.values())


@pytest.mark.parametrize("name", ["decode_head.classifier.weight", "backbone.stem.conv.weight", "norms.0.bias"])
def test_weights_that_are_no_finite_numbers_are_not_trained_on(trained: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(trained, tmp_path / "run")
    weights = tmp_path / "run" / "best" / "model.safetensors"
    state = load_file(weights)
    for wrong, message in ((state[name] * float("inf"), "NaN or infinite"), (state[name].char(), r"\(int8\)")):
        save_file(state | {name: wrong}, weights)
        with pytest.raises(ValueError, match=message):
            build(start(tmp_path / "run"), CLASSES)
