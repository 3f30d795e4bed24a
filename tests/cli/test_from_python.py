"""What the commands do, from Python: `gcvit.train`, `gcvit.evaluate`, `gcvit.export_model`."""

import json
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import gcvit as package
from gcvit.engine.config import load_config
from gcvit.errors import UserError
from gcvit.tasks import task_named
from gcvit.tasks.config import RunConfig
from gcvit.tasks.runs import HeldOutNote

from .conftest import Command, Example, Fake

pytestmark = pytest.mark.usefixtures("without_report")


def test_a_configuration_says_which_task_it_is_for(gcvit: Command, example: Example) -> None:
    config = load_config(task_named(example.task).config(), example.run / "train.json")
    result = package.train(config, "again")
    assert result.task.name == example.task
    measured = package.evaluate(package.open("again"), device="cpu")
    assert measured.evaluation.metrics == pytest.approx(result.evaluation.metrics)
    assert measured.described == result.data.name
    *_, end = map(json.loads, (example.run / "log.jsonl").read_text().splitlines())
    assert measured.evaluation.metrics[example.score] == pytest.approx(end[example.score], abs=1e-9)


def test_the_configuration_of_no_task() -> None:
    @dataclass(frozen=True)
    class Mine(RunConfig):
        epochs: int | None = 1

    with pytest.raises(UserError, match=r"Mine is no task's configuration; there are .*ClassifyConfig, "):
        package.train(Mine())


def test_learned_images_are_warned_of(gcvit: Command, folders: Path) -> None:
    recipe = task_named("classify").recipes["small_images"].config()
    config = replace(recipe, data=str(folders / "train"), epochs=1, batch_size=20, img_size=32, device="cpu")
    package.train(config, "mine")
    model = package.open("mine")
    with warnings.catch_warnings():
        warnings.simplefilter("error", HeldOutNote)
        assert package.evaluate(model, device="cpu").evaluation.measured == 10  # one of each class
        assert package.evaluate(model, folders, device="cpu").evaluation.measured == 20
    with pytest.warns(HeldOutNote, match="30 of these 40 images are among those that mine/best was trained on"):
        assert package.evaluate(model, val_fraction=None, device="cpu").evaluation.measured == 40


def test_a_model_is_exported_and_opened_again(gcvit: Command, fake: Fake, example: Example) -> None:
    model = package.open(example.run)
    path = package.export_model(model, "onnx", "out", size=(96, 64))
    assert path.name == f"gcvit_pico{'' if example.task == 'classify' else '-segment'}-96x64.onnx"
    assert package.open(path).classes == model.classes
    fake.factor = 1.01
    with pytest.raises(UserError, match=r"pico.*onnx was not written: on noise, batch 1 it is off by 1.0e-02"):
        package.export_model(model, "onnx", "other")
    assert list(Path("other").iterdir()) == []
