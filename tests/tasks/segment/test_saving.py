"""Models on the disk: bit-exact, without pickle, and what is not one of them is refused in words."""

import json
import shutil
from collections.abc import Callable
from functools import reduce
from itertools import product
from operator import getitem
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import gcvit
from gcvit.errors import UserError
from gcvit.factory import create_model, open_model
from gcvit.tasks import headed
from gcvit.tasks.opened import Opened
from gcvit.tasks.segment import SEGMENT, UPerNetConfig
from gcvit.tasks.segment.segmenter import Segmenter
from gcvit.tasks.segment.settings import ScenePreprocessing
from gcvit.weights.loading import find, load_weights
from tasks.segmenters import matter

CLASSES = ["sky", "road", "tree"]
PALETTE = [(0, 0, 255), (128, 64, 128), (0, 255, 0)]
PREPROCESSING = ScenePreprocessing((640, 320), (64, 96), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
IMAGES = torch.randn(2, 3, 64, 70, generator=torch.Generator().manual_seed(0))


def model(seed: int = 0, **head: object) -> Segmenter:
    config = UPerNetConfig(channels=16, aux_channels=8, **head)  # type: ignore[arg-type]
    backbone = create_model("gcvit_pico", img_size=(64, 96), windows=(5, 4, 3, 2), drop_path=0.2, head=False)
    found = matter(Segmenter(backbone, 3, config), seed).float()
    assert isinstance(found, Segmenter)
    return found


def save(found: Segmenter, folder: Path, classes: list[str] = CLASSES, palette: Any = PALETTE, **metadata: str) -> Path:
    opened = Opened(SEGMENT, found, "gcvit_pico", PREPROCESSING, classes, palette=palette)
    return headed.save_headed(opened, found, folder, metadata)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(model(), tmp_path / "model")


@pytest.mark.parametrize("head", [{}, {"norm": "group"}, {"aux_weight": 0.0}, {"bins": (1, 4)}])
def test_what_is_saved_is_opened_bit_by_bit(
    head: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("torch.load was used")

    monkeypatch.setattr(torch, "load", refuse)
    original = model(**head)
    save(original.train(), tmp_path, step="7")
    opened = gcvit.open(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
    assert (opened.name, opened.classes, opened.palette) == ("gcvit_pico", CLASSES, PALETTE)
    assert (opened.preprocessing, opened.source) == (PREPROCESSING, str(tmp_path))
    assert opened.model.backbone.config == original.backbone.config
    assert opened.model.head_config == original.head_config
    before, after = original.state_dict(), opened.model.state_dict()
    assert list(before) == list(after)
    for name, value in before.items():
        assert after[name].dtype == value.dtype, name
        assert torch.equal(after[name], value), name
    assert not opened.model.training
    assert torch.equal(opened.model(IMAGES).logits, original.eval()(IMAGES).logits)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "step": "7"}
    opened.model.train()(IMAGES).logits.sum().backward()  # it can be trained on


def test_channels_and_the_range_of_values_are_kept(tmp_path: Path) -> None:
    prepared = ScenePreprocessing(None, (64, 96), (0.1, 0.2, 0.3, 0.4), (0.5, 0.6, 0.7, 0.8), (-1024.0, 3071.0))
    backbone = create_model("gcvit_pico", in_chans=4, img_size=64, head=False)
    found = Segmenter(backbone, 3, UPerNetConfig(channels=16, aux_channels=8))
    described = Opened(SEGMENT, found, "gcvit_pico", prepared, CLASSES, palette=PALETTE)
    headed.save_headed(described, found, tmp_path, {})
    opened = gcvit.open(tmp_path)
    assert opened.preprocessing == prepared
    assert opened.model.backbone.config.in_chans == 4
    with pytest.raises(ValueError, match="mean and std of 3 channels for a model of 4"):
        headed.save_headed(Opened(SEGMENT, found, "", PREPROCESSING, CLASSES, palette=PALETTE), found, tmp_path, {})
    for wrong in ({"mean": (0.5,)}, {"std": ()}, {"value_range": (1.0, 1.0)}):
        with pytest.raises(ValueError, match="must be"):
            ScenePreprocessing(**wrong)


def test_a_runs_folder_stands_for_its_best_model(tmp_path: Path) -> None:
    save(model(), tmp_path / "run" / "best")
    (tmp_path / "run" / "train.json").write_text("{}")
    assert gcvit.open(tmp_path / "run").source == str(tmp_path / "run" / "best")


def test_the_model_of_synchronised_norms_opens_with_plain_ones(tmp_path: Path) -> None:
    original = model()
    synchronised = torch.nn.SyncBatchNorm.convert_sync_batchnorm(original)
    save(synchronised, tmp_path)
    assert torch.equal(gcvit.open(tmp_path).model(IMAGES).logits, original.eval()(IMAGES).logits)


def test_a_second_model_takes_the_place_of_the_first_and_a_failed_one_does_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(model(seed=5), folder)
    second = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert torch.equal(gcvit.open(folder).model(IMAGES).logits, model(seed=5)(IMAGES).logits)
    monkeypatch.setattr("os.fsync", _full_disk)
    with pytest.raises(OSError, match="No space"):
        save(model(seed=6), folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == second


def _full_disk(_: int) -> None:
    raise OSError(28, "No space left on device")


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="folded"):
        save(model().fold(), tmp_path)
    for classes, palette in ((CLASSES[:2], PALETTE), (CLASSES, PALETTE[:2])):
        with pytest.raises(ValueError, match="for 3 logits"):
            save(model(), tmp_path, classes, palette)
    assert list(tmp_path.iterdir()) == []


def test_other_folders_and_files_are_refused_in_words(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a model for the task 'segment', not a classifier"):
        open_model(folder)
    assert gcvit.open(folder / "model.safetensors").task.name == "segment"  # by the config.json beside it
    alone = shutil.copy(folder / "model.safetensors", tmp_path)
    with pytest.raises(ValueError, match=r"model\.safetensors: a GC ViT, but of none of the sizes"):
        gcvit.open(alone)
    with pytest.raises(ValueError, match="no such file"):
        gcvit.open(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no config\.json"):
        gcvit.open(tmp_path / "empty")


def without(key: str) -> Callable[[dict], object]:
    return lambda config: config.pop(key)


DAMAGE: dict[str, tuple[Callable[[dict], object], str]] = {
    "no task": (without("task"), "its architecture is '', which is not a GC ViT"),
    "the task of others": (lambda c: c.update(task="flow"), "no task 'flow'; there are classify, segment, detect"),
    "a task without name": (lambda c: c.update(task=7), "task in its config.json should be a name, not 7"),
    "no backbone": (without("backbone"), "backbone should be a JSON object, not None"),
    "a backbone of theirs": (lambda c: c["backbone"].update(architecture="resnet50"), "'resnet50', which is not a GC"),
    "an impossible backbone": (lambda c: c["backbone"]["model_args"].update(dim=-1), "dim must be"),
    "another backbone": (lambda c: c["backbone"].update(architecture="gc_vit_nano"), "missing"),
    "another window": (lambda c: c["backbone"]["model_args"].update(windows=[4] * 4), "of another shape"),
    "a giant": (lambda c: c["backbone"]["model_args"].update(dim=2**10), "of another shape"),
    "no head": (without("head"), "head should be a JSON object"),
    "an unknown word": (lambda c: c["head"].update(width=3), "head: unknown key 'width'"),
    "a word of another type": (lambda c: c["head"].update(channels="many"), "must be a whole number"),
    "another width": (lambda c: c["head"].update(channels=24), "of another shape"),
    "too many bins": (lambda c: c["head"].update(bins=[1] * 1000), "bins"),
    "a bin too fine": (lambda c: c["head"].update(bins=[1, 10**6]), "bins"),
    "another norm": (lambda c: c["head"].update(norm="group"), "left over"),
    "no classes": (without("classes"), "classes should be a list of names, not None"),
    "classes without names": (lambda c: c.update(classes=[1, 2, 3]), "classes should be a list of names"),
    "one class less": (lambda c: (c["classes"].pop(), c["palette"].pop()), "of another shape"),
    "no palette": (without("palette"), "palette should be a list of colours"),
    "a colour too bright": (lambda c: c["palette"][0].__setitem__(0, 256), "palette should be a list of colours"),
    "a colour less": (lambda c: c["palette"].pop(), "2 colours in the palette for 3 classes"),
    "preprocessing in words": (lambda c: c.update(preprocessing="usual"), "preprocessing"),
    "no variance": (lambda c: c["preprocessing"].update(std=[0, 1, 1]), "std must be above 0"),
}


@pytest.mark.parametrize(("change", "message"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_description(folder: Path, change: Callable[[dict], object], message: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message) as caught:
        gcvit.open(folder)
    assert str(folder) in str(caught.value)


def test_damaged_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    state, content = load_file(weights), weights.read_bytes()
    for wrong, message in (
        ({**state, "extra": torch.zeros(1)}, "left over.*extra"),
        ({name: x for name, x in state.items() if name != "norms.0.weight"}, r"missing \(1\): norms.0.weight"),
        ({**state, "norms.0.weight": torch.zeros(3)}, r"of another shape \(1\): norms.0.weight"),
    ):
        save_file(wrong, weights)
        with pytest.raises(ValueError, match=message):
            gcvit.open(folder)
    for damaged in (b"", content[:1000], b"\x80\x04.", b"\xff" * 4096):
        weights.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"model\.safetensors"):
            gcvit.open(folder)
    weights.unlink()
    with pytest.raises(ValueError, match=r"no model\.safetensors"):
        gcvit.open(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="not readable as JSON"):
        gcvit.open(folder)


def test_a_giants_weights_are_never_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What config.json describes is compared on the meta device first."""
    devices: list[str] = []
    built = headed.fill

    def note(found: Segmenter, *rest: object) -> None:
        devices.extend(parameter.device.type for parameter in found.parameters())
        built(found, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(headed, "fill", note)
    gcvit.open(folder)
    assert set(devices) == {"meta"}


def test_its_backbone_loads_into_a_gcvit(folder: Path, tmp_path: Path) -> None:
    source = gcvit.open(folder).model
    assert isinstance(source, Segmenter)
    backbone = create_model("gcvit_pico", img_size=(64, 96), windows=(5, 4, 3, 2), head=False)
    (tmp_path / "run").mkdir()
    folder.rename(tmp_path / "run" / "best")
    for given in (tmp_path / "run", tmp_path / "run" / "best", tmp_path / "run" / "best" / "model.safetensors"):
        report = load_weights(backbone, given)
        assert "norms.0.weight" in report.dropped
        for name, weight in backbone.state_dict().items():
            assert torch.equal(weight, source.backbone.state_dict()[name])
    with pytest.raises(UserError, match="no classes in the head, but the model has 5"):
        load_weights(create_model("gcvit_pico", num_classes=5), tmp_path / "run")


def test_what_was_read_is_opened_without_being_read_again(folder: Path) -> None:
    checkpoint = find(folder)
    assert checkpoint.task == "segment"
    expected = gcvit.open(folder).model(IMAGES).logits
    for file in folder.iterdir():
        file.unlink()
    assert torch.equal(SEGMENT.open(checkpoint).model(IMAGES).logits, expected)


@pytest.mark.parametrize("name", ["backbone.norm.weight", "decode_head.classifier.bias", "norms.1.weight"])
def test_weights_that_are_no_finite_numbers(folder: Path, name: str) -> None:
    weights = folder / "model.safetensors"
    state = load_file(weights)
    name = name if name in state else "backbone.stem.conv.bias"
    for value, message in (
        (state[name].to(torch.int8), rf"floating-point numbers .* not {name} \(int8\)"),
        (torch.full_like(state[name], float("nan")), rf"NaN or infinite values .*: {name}"),
    ):
        save_file(state | {name: value}, weights)
        with pytest.raises(UserError, match=message):
            gcvit.open(folder)


VALUES = [None, -1, 10**9, float("nan"), "x" * 10**5, [[]] * 10**4, {"a": 1}]
PLACES: list[tuple[str | int, ...]] = [
    *[("backbone",), ("head",), ("classes",), ("palette",), ("preprocessing",), ("task",), ("backbone", "model_args")],
    *[("head", key) for key in ("channels", "bins", "dropout", "norm", "aux_channels", "aux_weight")],
    *[("preprocessing", key) for key in ("resize", "crop", "mean", "std")],
    *[("classes", 1), ("palette", 1), ("backbone", "architecture"), ("backbone", "pretrained_cfg")],
    *[("backbone", "model_args", key) for key in ("dim", "depths", "windows", "img_size")],
]


def test_any_value_anywhere_in_a_description(folder: Path) -> None:
    """A model that works, or one line that says what is wrong."""
    whole = (folder / "config.json").read_text()
    for place, value in product(PLACES, VALUES):
        config = json.loads(whole)
        *way, key = place
        node = reduce(getitem, way, config)
        node[key] = value
        (folder / "config.json").write_text(json.dumps(config))
        try:
            opened = gcvit.open(folder)
        except UserError as error:
            told = str(error)
        else:
            assert opened.model(IMAGES).logits.shape[1] == len(opened.classes)
            continue
        assert "\n" not in told
        assert len(told) < 3000
