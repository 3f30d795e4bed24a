"""A whole run: what it leaves behind, that it is a function of its seed, and how it ends when something is wrong."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from gcvit.data.shapes import CLASSES, write_class_folders
from gcvit.engine.config import load_config
from gcvit.engine.log import read_log
from gcvit.factory import open_model
from gcvit.tasks.classify import ClassifyConfig, TrainResult, evaluate_checkpoint, train
from gcvit.tasks.classify.plan import make_plan
from gcvit.tasks.classify.task import ClassifyTask
from tasks.tiny import TINY


def test_what_a_run_leaves_behind(tiny_run: TrainResult) -> None:
    out = tiny_run.out
    assert sorted(path.name for path in out.iterdir()) == [
        ".lock", "best", "checkpoints", "confusion.png", "curves.png", "last", "log.jsonl", "predictions.png",
        "report.html", "train.json",
    ]  # fmt: skip
    assert load_config(ClassifyConfig(), out / "train.json") == TINY
    for picture in (tiny_run.outputs.curves, tiny_run.outputs.predictions, tiny_run.outputs.confusion):
        with Image.open(picture) as image:
            assert image.width > 800
    events = read_log(out / "log.jsonl")
    assert [event["event"] for event in events] == ["start", "steps", "evaluation", "steps", "evaluation", "end"]
    assert events[0]["steps"] == 2 * (48 // 16)
    for name, epoch in (("best", tiny_run.best_epoch), ("last", 2)):
        with safe_open(out / name / "model.safetensors", "pt") as file:
            assert file.metadata()["epoch"] == str(epoch)
    assert json.loads((tiny_run.best / "config.json").read_text())["label_names"] == list(CLASSES)


def test_the_result_is_that_of_the_checkpoint_on_the_disk(tiny_run: TrainResult) -> None:
    ours, again = tiny_run.evaluation, evaluate_checkpoint(str(tiny_run.best), images=30)
    assert (again.model, again.size) == ("gcvit_pico", (32, 32))
    assert torch.equal(again.result.predicted, ours.predicted)
    assert again.result.loss == pytest.approx(ours.loss)
    logged = [event for event in read_log(tiny_run.out / "log.jsonl") if event.get("best")][-1]
    assert (logged["top1"], logged["epoch"]) == (pytest.approx(ours.accuracy.top1, abs=1e-5), tiny_run.best_epoch)
    page = tiny_run.outputs.report.read_text(encoding="utf-8")
    assert f"{ours.accuracy.top1:.1%}" in page


def test_loader_workers_do_not_change_a_bit(tiny_run: TrainResult, tmp_path: Path) -> None:
    other = train(replace(TINY, workers=2), tmp_path / "run")
    ours, theirs = (load_file(run.last / "model.safetensors") for run in (tiny_run, other))
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    assert other.evaluation.loss == tiny_run.evaluation.loss


def test_a_run_starts_from_a_checkpoint_and_says_what_it_does_with_the_head(
    tiny_run: TrainResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_class_folders(tmp_path / "data", {"train": 16, "val": 10}, 32)
    for folder in ("train", "val"):
        (tmp_path / "data" / folder / "star").rename(tmp_path / "data" / folder / "asterisk")
    start = replace(TINY, weights=str(tiny_run.last), epochs=1, accumulate=1, optim=replace(TINY.optim, lr=1e-30))
    train(replace(start, data=str(tmp_path / "data")), tmp_path / "renamed")
    assert "fresh head for 10 classes" in capsys.readouterr().err
    train(start, tmp_path / "same")
    assert "fresh head" not in capsys.readouterr().err
    before, renamed, same = (
        load_file(folder / "model.safetensors")
        for folder in (tiny_run.last, tmp_path / "renamed" / "last", tmp_path / "same" / "last")
    )
    torch.testing.assert_close(same, before)
    torch.testing.assert_close(renamed["norm.weight"], before["norm.weight"])
    assert not torch.allclose(renamed["head.weight"], before["head.weight"])
    assert open_model(tmp_path / "renamed" / "best").labels == sorted({*CLASSES, "asterisk"} - {"star"})


def refused(config: ClassifyConfig, out: Path) -> str:
    with pytest.raises(ValueError) as caught:
        train(config, out)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "gcvit_picco"}, "gcvit_pico"),
        ({"data": "nowhere"}, "nowhere"),
        ({"weights": "nowhere"}, "nowhere"),
        ({"batch_size": 64}, "the 48 training images do not fill one step of 64 .*lower batch_size to 48 or less"),
        ({"device": "tpu"}, "device must be auto, cpu, cuda"),
        ({"img_size": 16}, "at least 32"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train(replace(TINY, **change), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("accumulate", [1, 2, 4])
@pytest.mark.parametrize("images", [2, 3, 5, 31, 100])
def test_the_advice_for_few_images_works_with_mixup(images: int, accumulate: int) -> None:
    config = replace(TINY, batch_size=128, accumulate=accumulate)
    assert config.augment.mixes
    with pytest.raises(ValueError, match=f"the {images} training images do not fill") as caught:
        make_plan(config, images, torch.device("cpu"))
    advice = {key: int(value) for key, value in re.findall(r"(accumulate|batch_size) to (\d+)", str(caught.value))}
    changed = replace(config, **advice)
    assert make_plan(changed, images, torch.device("cpu")).steps_per_epoch >= 1


def test_a_folder_with_a_run_is_left_alone_where_resume_is_never(tiny_run: TrainResult) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny_run.out.rglob("*")}
    with pytest.raises(ValueError, match="has a run in it already"):
        train(TINY, tiny_run.out, resume="never")
    assert {path: path.stat().st_mtime_ns for path in tiny_run.out.rglob("*")} == before


@pytest.mark.parametrize("workers", [0, 1])
def test_a_corrupt_image_in_the_middle_is_named(tmp_path: Path, workers: int) -> None:
    write_class_folders(tmp_path / "data", {"train": 20, "val": 10}, 32)
    bad = tmp_path / "data" / "train" / "ring" / "0002.png"
    bad.write_bytes(bad.read_bytes()[:200])
    config = replace(TINY, data=str(tmp_path / "data"), batch_size=10, accumulate=1, workers=workers)
    message = refused(config, tmp_path / "run")
    assert str(bad) in message
    assert "\n" not in message


def spoil(monkeypatch: pytest.MonkeyPatch, batch: int, effect: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Let `effect` change the loss of the run's nth batch."""
    original, count = ClassifyTask.loss, iter(range(1, 1000))

    def loss(self: ClassifyTask, model: torch.nn.Module, batch_: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        value = original(self, model, batch_)
        return effect(value) if next(count) == batch else value

    monkeypatch.setattr(ClassifyTask, "loss", loss)


def press_ctrl_c(_: torch.Tensor) -> torch.Tensor:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("effect", "kind", "message"),
    [
        (lambda loss: loss * float("nan"), ValueError, "diverged in epoch 2, step 5"),
        (press_ctrl_c, KeyboardInterrupt, "holds what was saved before; the same command goes on from it"),
    ],
)
def test_a_run_that_ends_early_keeps_the_epochs_before(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    effect: Callable[[torch.Tensor], torch.Tensor],
    kind: type[BaseException],
    message: str,
) -> None:
    spoil(monkeypatch, 10, effect)  # three steps of two batches an epoch: the second batch of step 5
    with pytest.raises(kind, match=message):
        train(TINY, tmp_path / "run")
    for name in ("best", "last"):
        opened = open_model(tmp_path / "run" / name)
        assert all(parameter.isfinite().all() for parameter in opened.model.parameters())
        assert opened.labels == list(CLASSES)
    assert (tmp_path / "run" / "curves.png").is_file()


def test_a_failed_picture_does_not_hide_why_a_run_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    spoil(monkeypatch, 10, lambda loss: loss * float("nan"))
    monkeypatch.setattr(FigureCanvasAgg, "print_figure", fail)
    assert "diverged in epoch 2" in refused(TINY, tmp_path / "run")


def test_a_full_disk_in_the_middle_of_a_save_leaves_the_old_checkpoint(
    tiny_run: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
        train(TINY, tmp_path / "run")
    monkeypatch.undo()
    with safe_open(tmp_path / "run" / "last" / "model.safetensors", "pt") as file:
        assert file.metadata()["epoch"] == "1"
    open_model(tmp_path / "run" / "last")
    assert sorted(path.name for path in (tmp_path / "run" / "last").iterdir()) == ["config.json", "model.safetensors"]
