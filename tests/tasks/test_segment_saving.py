"""Models on the disk: bit-exact, without pickle, and what is not one of them is refused in words."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from gcvit.factory import create_model, open_model
from gcvit.tasks.segment import saving
from gcvit.tasks.segment.config import UPerNetConfig
from gcvit.tasks.segment.saving import ScenePreprocessing, open_segmenter, save_segmenter
from gcvit.tasks.segment.segmenter import Segmenter
from gcvit.weights.hub import save_hub
from gcvit.weights.preprocessing import Preprocessing
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


def save(found: Segmenter, folder: Path, **metadata: str) -> Path:
    return save_segmenter(
        found, folder, classes=CLASSES, palette=PALETTE, preprocessing=PREPROCESSING, metadata=metadata
    )


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
    opened = open_segmenter(tmp_path)
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


def test_a_runs_folder_stands_for_its_best_model(tmp_path: Path) -> None:
    save(model(), tmp_path / "run" / "best")
    (tmp_path / "run" / "train.json").write_text("{}")
    assert open_segmenter(tmp_path / "run").source == str(tmp_path / "run" / "best")


def test_the_model_of_synchronised_norms_opens_with_plain_ones(tmp_path: Path) -> None:
    original = model()
    synchronised = torch.nn.SyncBatchNorm.convert_sync_batchnorm(original)
    save(synchronised, tmp_path)
    assert torch.equal(open_segmenter(tmp_path).model(IMAGES).logits, original.eval()(IMAGES).logits)


def test_a_second_model_takes_the_place_of_the_first_and_a_failed_one_does_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(model(seed=5), folder)
    second = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert torch.equal(open_segmenter(folder).model(IMAGES).logits, model(seed=5)(IMAGES).logits)
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
            save_segmenter(model(), tmp_path, classes=classes, palette=palette, preprocessing=PREPROCESSING)
    assert list(tmp_path.iterdir()) == []


def test_other_folders_and_files_are_refused_in_words(folder: Path, tmp_path: Path) -> None:
    save_hub(create_model("gcvit_pico"), tmp_path / "classifier", preprocessing=Preprocessing((64, 64)))
    with pytest.raises(ValueError, match=r"not a segmentation model; its config\.json is a classifier's"):
        open_segmenter(tmp_path / "classifier")
    with pytest.raises(ValueError, match="a model for the task 'segment', not a classifier"):
        open_model(folder)
    with pytest.raises(ValueError, match=r"give the folder with its config\.json"):
        open_segmenter(folder / "model.safetensors")
    with pytest.raises(ValueError, match="no such file"):
        open_segmenter(tmp_path / "nothing")
    for name in ("gcvit_tiny", "gcvit_tiny.nvlabs"):
        with pytest.raises(ValueError, match=f"{name} names a classifier"):
            open_segmenter(name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no config\.json"):
        open_segmenter(tmp_path / "empty")


def without(key: str) -> Callable[[dict], object]:
    return lambda config: config.pop(key)


DAMAGE: dict[str, tuple[Callable[[dict], object], str]] = {
    "no task": (without("task"), "does not have task segment"),
    "no backbone": (without("backbone"), "backbone should be a JSON object, not None"),
    "a backbone of theirs": (lambda c: c["backbone"].update(architecture="resnet50"), "'resnet50', which is not a GC"),
    "an impossible backbone": (lambda c: c["backbone"]["model_args"].update(dim=-1), "dim must be"),
    "another backbone": (lambda c: c["backbone"].update(architecture="gc_vit_nano"), "missing"),
    "another window": (lambda c: c["backbone"]["model_args"].update(windows=[4] * 4), "of another shape"),
    "a giant": (lambda c: c["backbone"]["model_args"].update(dim=2**16), "of another shape"),
    "no head": (without("head"), "head should be a JSON object"),
    "an unknown word": (lambda c: c["head"].update(width=3), "head: unknown key 'width'"),
    "a word of another type": (lambda c: c["head"].update(channels="many"), "must be a whole number"),
    "another width": (lambda c: c["head"].update(channels=24), "of another shape"),
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
        open_segmenter(folder)
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
            open_segmenter(folder)
    for damaged in (b"", content[:1000], b"\x80\x04.", b"\xff" * 4096):
        weights.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"model\.safetensors"):
            open_segmenter(folder)
    weights.unlink()
    with pytest.raises(ValueError, match=r"no model\.safetensors"):
        open_segmenter(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="not readable as JSON"):
        open_segmenter(folder)


def test_a_giants_weights_are_never_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What config.json describes is compared on the meta device first."""
    devices: list[str] = []
    built = saving.check_state

    def note(found: Segmenter, *rest: object) -> None:
        devices.extend(parameter.device.type for parameter in found.parameters())
        built(found, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(saving, "check_state", note)
    open_segmenter(folder)
    assert set(devices) == {"meta"}
