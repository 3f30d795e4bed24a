"""From what a person calls a model to that model: any architecture that was trained comes back, in any runtime."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import gcvit
from gcvit.cli import train as command
from gcvit.engine.config import load_config
from gcvit.export.trained import as_exported
from gcvit.export.writing import write_export
from gcvit.factory import create_model
from gcvit.model import GCViTConfig
from gcvit.tasks.backbone import backbone_of
from gcvit.tasks.classify import CLASSIFY
from gcvit.tasks.config import ArchConfig, RunConfig
from gcvit.tasks.detect import DETECT
from gcvit.tasks.segment import SEGMENT
from gcvit.tasks.task import Task
from gcvit.tasks.train import train
from gcvit.weights.hub import save_hub
from gcvit.weights.preprocessing import Preprocessing
from tasks.tiny import every_task

pytestmark = pytest.mark.usefixtures("without_report")
PICTURE = Image.radial_gradient("L").resize((80, 60)).convert("RGB")

# Of no variant that has a name; a file has some of it, flags change and add the rest.
FILE = """
[arch]
dim = 12
depths = [2, 3, 2, 2]
mlp_ratio = 1.5
layer_scale = 0.1
"""
FLAGS = """
--arch.depths 2 2 3 2 --arch.heads 1 2 3 4 --arch.query-mbconvs 2 1 1 1 --arch.dropout 0.1 --arch.attention-dropout 0.1
"""
ARCHITECTURE: dict[str, Any] = {
    "dim": 12,
    "depths": (2, 2, 3, 2),
    "heads": (1, 2, 3, 4),
    "mlp_ratio": 1.5,
    "layer_scale": 0.1,
    "query_mbconvs": (2, 1, 1, 1),
    "dropout": 0.1,
    "attention_dropout": 0.1,
}


def flags_of(task: Task, tiny: RunConfig) -> list[str]:
    """A short run of the command."""
    flags = ["--device", "cpu", "--batch-size", "4", "--train-images", "12", "--val-images", "10"]
    if task is SEGMENT:
        crop = ["--crop", "48", "64", "--channels", "8", "--aux-channels", "8"]
        return [*flags, "--steps", "2", "--eval-every", "2", "--warmup", "1 step", *crop]
    if task is DETECT:
        small = ["--size", "64", "--short", "64", "--scene-size", "64", "--channels", "8", "--hidden", "16"]
        return [*flags, "--steps", "2", "--eval-every", "2", "--warmup", "1 step", *small]
    return [*flags, "--img-size", "48", "--epochs", "1"]


@every_task
def test_an_architecture_of_ones_own_trains_and_is_opened_and_exported(
    task: Task, tiny: RunConfig, tmp_path: Path
) -> None:
    (tmp_path / "own.toml").write_text(FILE)
    recipe = next(iter(task.recipes))
    words = [task.name, recipe, "--config", str(tmp_path / "own.toml"), "--out", str(tmp_path / "run"), *FLAGS.split()]
    command.run([*words, *flags_of(task, tiny)])
    config = load_config(task.config(), tmp_path / "run" / "train.json")
    assert config.arch.changes() == ARCHITECTURE
    opened = gcvit.open(tmp_path / "run")
    built = backbone_of(opened.model).config
    assert {name: getattr(built, name) for name in ARCHITECTURE} == ARCHITECTURE

    # Trained on, from its own weights alone.
    on = replace(config, weights=str(tmp_path / "run"), arch=config.arch)
    again = train(task, on, tmp_path / "on")
    assert backbone_of(gcvit.open(again.out).model).config == built
    with pytest.raises(ValueError, match="holds the weights of gcvit_"):
        train(task, replace(on, arch=ArchConfig()), tmp_path / "other")

    if task is DETECT:
        return  # detectors are not exported yet
    trained = as_exported(opened)
    path = tmp_path / "model.pt2"
    found = write_export(trained, path, "torch-export", pictures={}, min_agreement=1.0, progress=lambda text: None)
    assert found.problem is None
    exported = gcvit.open(path, trust_code=True)
    assert exported.classes == opened.classes
    assert exported.predict(PICTURE).to_dict().keys() == opened.predict(PICTURE, device="cpu").to_dict().keys()


def test_every_kind_of_source_is_the_same_model(tmp_path: Path) -> None:
    model = create_model("gcvit_pico", num_classes=3, img_size=64).eval()
    torch.nn.init.normal_(model.head.weight)
    names, run = ["a", "b", "c"], tmp_path / "run"
    save_hub(model, run / "best", preprocessing=Preprocessing((64, 64)), labels=names)
    (run / "train.json").write_text("{}")
    shutil.copytree(run / "best", tmp_path / "folder")
    save_file(model.state_dict(), tmp_path / "bare.safetensors")
    torch.save({"state_dict": model.state_dict(), "epoch": 3}, tmp_path / "bare.pth.tar")
    expected = gcvit.open(run).predict(PICTURE, device="cpu")
    for source in (run, str(run), run / "best", tmp_path / "folder"):
        opened = gcvit.open(source)
        assert (opened.task, opened.classes, opened.name) == (CLASSIFY, names, "gcvit_pico")
        assert opened.predict(PICTURE, device="cpu").guesses == expected.guesses
        assert not opened.model.training
    for source in (tmp_path / "bare.safetensors", tmp_path / "bare.pth.tar"):
        opened = gcvit.open(source)
        assert opened.classes is None
        guesses = opened.predict(PICTURE, device="cpu").guesses
        assert [guess.index for guess in guesses] == [guess.index for guess in expected.guesses]


def test_of_a_training_checkpoint_the_average_is_taken_where_it_is_asked_for(tmp_path: Path) -> None:
    model = create_model("gcvit_pico", num_classes=3)
    average = {name: tensor + 1 for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": model.state_dict(), "state_dict_ema": average}, tmp_path / "both.pth")
    plain, averaged = (gcvit.open(tmp_path / "both.pth", ema=ema).model.state_dict() for ema in (False, True))
    assert torch.equal(plain["head.weight"], model.state_dict()["head.weight"])
    assert torch.equal(averaged["head.weight"], average["head.weight"])


def test_what_cannot_be_opened_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.pth").write_text("no weights")
    for source in (tmp_path / "nothing.pth", tmp_path / "empty", tmp_path / "text.pth", tmp_path / "absent.onnx"):
        with pytest.raises(gcvit.UserError, match=source.name):
            gcvit.open(source)


def test_every_field_of_the_architecture_is_kept_with_a_model(tmp_path: Path) -> None:
    """Whatever it is: the file says what differs from the variant that is nearest."""
    config = GCViTConfig(**{**ARCHITECTURE, "head_dropout": 0.2, "drop_path": 0.3}, img_size=(64, 96), num_classes=3)
    model = gcvit.GCViT(config)
    save_hub(model, tmp_path, preprocessing=Preprocessing((64, 96)))
    found = gcvit.open(tmp_path).model
    assert isinstance(found, gcvit.GCViT)
    assert found.config == config
