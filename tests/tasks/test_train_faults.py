"""A run in which something is wrong: pictures, losses, disks and Ctrl-C. What was saved before stays whole."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from safetensors import safe_open

import gcvit
from gcvit.engine.log import read_log
from gcvit.shell import typed
from gcvit.tasks.classify import CLASSIFY
from gcvit.tasks.config import RunConfig
from gcvit.tasks.segment import SEGMENT
from gcvit.tasks.task import Task
from gcvit.tasks.train import TrainingObjective, train
from tasks.tiny import TINY, every_task

pytestmark = pytest.mark.usefixtures("without_report")  # but for the runs that all tests share


def refused(task: Task, config: RunConfig, out: Path) -> str:
    with pytest.raises(ValueError) as caught:
        train(task, config, out)
    return str(caught.value)


def write_with_a_corrupt_image(task: Task, data: Path, size: int) -> Path:
    """Write 20 pictures to train on, of which one is cut off, and some held-out ones; returns the one."""
    task.write_examples(data, {"train": 20, "val": 10 if task is CLASSIFY else 2}, size, 0, iter)
    training = data / ("images/training" if task is SEGMENT else "train")
    bad = sorted(training.rglob("*.png"))[3]
    bad.write_bytes(bad.read_bytes()[:60])
    return bad


@every_task
@pytest.mark.parametrize("workers", [0, 1])
def test_a_corrupt_image_in_the_middle_is_named(task: Task, tiny: RunConfig, tmp_path: Path, workers: int) -> None:
    data = tmp_path / "data"
    bad = write_with_a_corrupt_image(task, data, 32)
    config = replace(tiny, data=str(data), batch_size=10, accumulate=1, workers=workers)
    message = refused(task, config, tmp_path / "run")
    assert str(bad) in message
    assert (
        f"`{typed(['gcvit', 'doctor', data])}` finds all such images, --bad-images skip trains without them" in message
    )
    assert "\n" not in message
    assert read_log(tmp_path / "run" / "log.jsonl")[-1]["event"] == "end"


@every_task
def test_corrupt_images_are_skipped_listed_and_counted(task: Task, tiny: RunConfig, tmp_path: Path) -> None:
    data = tmp_path / "data"
    bad = write_with_a_corrupt_image(task, data, 48)
    short: dict[str, Any] = {"steps": 2} if tiny.steps else {"epochs": 1}
    short |= {"batch_size": 10, "accumulate": 1}
    config = replace(tiny, data=str(data), bad_images="skip", max_bad_images=0.1, **short)
    found = train(task, config, tmp_path / "run")
    assert found.skipped == 1
    assert str(bad) in (tmp_path / "run" / "quarantine.jsonl").read_text("utf8")
    message = refused(task, replace(config, max_bad_images=0.01), tmp_path / "other")
    assert "1 of the 20 training images cannot be read" in message


Effect = Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]


def spoil(monkeypatch: pytest.MonkeyPatch, batch: int, effect: Effect) -> None:
    """Let `effect` change the loss of the run's nth batch."""
    original, count = TrainingObjective.loss, iter(range(1, 1000))

    def loss(self: TrainingObjective, model: torch.nn.Module, part: Any) -> Any:
        value = original(self, model, part)
        return effect(dict(value)) if next(count) == batch else value

    monkeypatch.setattr(TrainingObjective, "loss", loss)


def press_ctrl_c(_: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    raise KeyboardInterrupt


def lose(parts: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """One part is no number any more."""
    *_, name = parts
    return parts | {name: parts[name] * float("nan")}


@every_task
@pytest.mark.parametrize(
    ("effect", "kind", "message"),
    [
        (lose, ValueError, r"diverged in (epoch 2, )?step 5: the loss is nan"),
        (press_ctrl_c, KeyboardInterrupt, "holds what was saved before; the same command goes on from it"),
    ],
    ids=["a loss that is no number", "Ctrl-C"],
)
def test_a_run_that_ends_early_keeps_the_epochs_before(
    task: Task,
    tiny: RunConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    effect: Effect,
    kind: type[BaseException],
    message: str,
) -> None:
    spoil(monkeypatch, 10, effect)  # the second batch of step 5, which is after an evaluation
    with pytest.raises(kind, match=message):
        train(task, tiny, tmp_path / "run")
    for name in ("best", "last"):
        opened = gcvit.open(tmp_path / "run" / name)
        assert all(parameter.isfinite().all() for parameter in opened.model.parameters())
    assert (tmp_path / "run" / "curves.png").is_file()


def test_a_failed_picture_does_not_hide_why_a_run_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    spoil(monkeypatch, 10, lose)
    monkeypatch.setattr(FigureCanvasAgg, "print_figure", fail)
    assert "diverged in epoch 2" in refused(CLASSIFY, TINY, tmp_path / "run")


def test_a_full_disk_in_the_middle_of_a_save_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def is_second_last(descriptor: int) -> bool:
        """Whether it is of last/model.safetensors, after the second epoch."""
        return (
            "/last/.model" in os.readlink(f"/proc/self/fd/{descriptor}")
            and (tmp_path / "run" / "last").is_dir()
            and (tmp_path / "run" / "last" / "model.safetensors").exists()
        )

    def fsync(descriptor: int) -> None:
        if is_second_last(descriptor):
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left"):
        train(CLASSIFY, TINY, tmp_path / "run")
    monkeypatch.undo()
    with safe_open(tmp_path / "run" / "last" / "model.safetensors", "pt") as file:
        assert file.metadata()["epoch"] == "1"
    gcvit.open(tmp_path / "run" / "last")
    assert sorted(path.name for path in (tmp_path / "run" / "last").iterdir()) == ["config.json", "model.safetensors"]
