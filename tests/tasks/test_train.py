"""A whole run: what it leaves behind, that it is a function of its seed, and what it refuses to begin with."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

import gcvit
from faults.killing import same_weights
from gcvit.data.shapes import CLASSES, write_class_folders
from gcvit.engine.config import load_config
from gcvit.engine.log import read_log
from gcvit.tasks.classify import CLASSIFY
from gcvit.tasks.config import RunConfig
from gcvit.tasks.evaluate import evaluate
from gcvit.tasks.segment import SEGMENT, SegmentConfig
from gcvit.tasks.task import Task
from gcvit.tasks.train import TrainingObjective, TrainResult, make_plan, train
from gcvit.weights import fetching
from tasks.evaluation_worker import counted
from tasks.tiny import TASKS, TINY, TINY_SCENES, every_task
from tasks.toy_task import Locate, LocateConfig

pytestmark = pytest.mark.usefixtures("without_report")  # but for the runs that all tests share


CHARTS = {"classify": ["confusion", "predictions", "reliability"], "segment": ["classes", "confusion", "predictions"]}


def test_what_a_run_leaves_behind(every_run: TrainResult) -> None:
    out, task, config = every_run.out, every_run.task, every_run.config
    charts = CHARTS[task.name]
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [".lock", "best", "checkpoints", "curves.png", "last", "log.jsonl", "report.html", "train.json"]
        + [f"{name}.png" for name in charts]
    )
    assert load_config(task.config(), out / "train.json") == config
    assert every_run.outputs.keys() == {"report", "curves", *charts}
    for name, file in every_run.outputs.items():
        assert file.parent == out
        if name != "report":
            with Image.open(file) as image:
                assert image.width > (500 if name == "reliability" else 800), name
    unit = config.unit
    events = read_log(out / "log.jsonl")
    evaluations = [event for event in events if event["event"] == "evaluation"]
    assert [event[unit] for event in evaluations] == ([2, 4, 5] if config.steps else [1, 2])
    best = max(evaluations, key=lambda event: (event[task.score], event["step"]))
    assert every_run.best_at == best[unit]
    assert every_run.evaluation.metrics[task.score] == pytest.approx(best[task.score], abs=1e-5)
    stretches = 3 if config.steps else 2
    assert [event["event"] for event in events] == ["start", *["steps", "evaluation"] * stretches, "end"]
    assert events[0]["classes"] == every_run.data.classes
    assert events[-1][task.score] == every_run.evaluation.metrics[task.score]
    for name, epoch in (("best", best["epoch"]), ("last", evaluations[-1]["epoch"])):
        with safe_open(out / name / "model.safetensors", "pt") as file:
            assert file.metadata()["epoch"] == str(epoch)
        assert gcvit.open(out / name).classes == every_run.data.classes
        assert not any(key.startswith("module.") for key in load_file(out / name / "model.safetensors"))


def test_the_log_has_what_each_step_cost(every_run: TrainResult) -> None:
    events = read_log(every_run.out / "log.jsonl")
    taken = [event for event in events if event["event"] == "steps"]
    assert events[0]["steps"] == taken[-1]["step"] == (5 if every_run.config.steps else 2 * (48 // 16))
    for event in taken:
        parts = [value for name, value in event.items() if name.startswith("loss_")]
        assert len(parts) == (2 if every_run.task.name == "segment" else 0)
        assert sum(parts) == pytest.approx(event["loss"] if parts else 0, rel=1e-4)


def test_the_result_is_that_of_the_checkpoint_on_the_disk(every_run: TrainResult) -> None:
    task, ours = every_run.task, every_run.evaluation
    opened = gcvit.open(every_run.out)
    again = evaluate(opened, task.open_held_out(every_run.config, opened, share=True), batch_size=1)
    assert opened.source == str(every_run.best)
    assert again.evaluation.measured == every_run.config.val_images
    assert again.evaluation.metrics == pytest.approx(ours.metrics, rel=1e-5)
    assert again.evaluation.loss == pytest.approx(ours.loss, rel=1e-5)
    for name in ("predicted", "counts", "confusion", "boundary"):
        if name in counted(ours):
            assert torch.equal(counted(again.evaluation)[name], counted(ours)[name]), name
    page = every_run.outputs["report"].read_text(encoding="utf-8")
    assert ours.numbers()[0].value in page


def test_loader_workers_do_not_change_a_bit(every_run: TrainResult, tmp_path: Path) -> None:
    other = train(every_run.task, replace(every_run.config, workers=2), tmp_path / "run")
    assert same_weights(every_run.last, other.last)
    assert other.evaluation.metrics == every_run.evaluation.metrics
    assert other.evaluation.loss == every_run.evaluation.loss


def test_gradient_checkpointing_does_not_change_a_bit(every_run: TrainResult, tmp_path: Path) -> None:
    other = train(every_run.task, replace(every_run.config, grad_checkpointing=True), tmp_path / "run")
    assert same_weights(every_run.last, other.last)
    assert same_weights(every_run.best, other.best)


def test_frozen_stages_keep_the_weights_that_a_run_starts_from(
    every_run: TrainResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = replace(every_run.config, weights=str(every_run.last), freeze_stages=2)
    other = train(every_run.task, start, tmp_path / "run")
    assert "the stem and the first 2 stages stay as they are" in capsys.readouterr().err
    before, after = (load_file(folder / "model.safetensors") for folder in (every_run.last, other.last))
    frozen = ("stem.", "stages.0.", "stages.1.")
    kept = {name for name in before if torch.equal(before[name], after[name])}
    assert kept == {name for name in before if name.removeprefix("backbone.").startswith(frozen)}


def test_a_run_starts_from_a_checkpoint_and_says_what_it_does_with_the_head(
    tiny_run: TrainResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_class_folders(tmp_path / "data", {"train": 16, "val": 10}, 32)
    for folder in ("train", "val"):
        (tmp_path / "data" / folder / "star").rename(tmp_path / "data" / folder / "asterisk")
    start = replace(TINY, weights=str(tiny_run.last), epochs=1, accumulate=1, optim=replace(TINY.optim, lr=1e-30))
    train(CLASSIFY, replace(start, data=str(tmp_path / "data")), tmp_path / "renamed")
    assert "fresh head for 10 classes" in capsys.readouterr().err
    train(CLASSIFY, start, tmp_path / "same")
    assert "fresh head" not in capsys.readouterr().err
    before, renamed, same = (
        load_file(folder / "model.safetensors")
        for folder in (tiny_run.last, tmp_path / "renamed" / "last", tmp_path / "same" / "last")
    )
    torch.testing.assert_close(same, before)
    torch.testing.assert_close(renamed["norm.weight"], before["norm.weight"])
    assert not torch.allclose(renamed["head.weight"], before["head.weight"])
    assert gcvit.open(tmp_path / "renamed" / "best").classes == sorted({*CLASSES, "asterisk"} - {"star"})


def refused(task: Task, config: RunConfig, out: Path) -> str:
    with pytest.raises(ValueError) as caught:
        train(task, config, out)
    return str(caught.value)


@every_task
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "gcvit_picco"}, "gcvit_pico"),
        ({"data": "nowhere"}, "nowhere"),
        ({"weights": "nowhere"}, "nowhere"),
        ({"weights": "nowhere.pth"}, "no such file"),
        ({"batch_size": 10, "accumulate": 4}, "cannot be divided"),
        ({"device": "tpu"}, "device must be auto, cpu, cuda"),
        ({"freeze_stages": 1}, "freeze_stages keeps learned weights"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    task: Task, tiny: RunConfig, tmp_path: Path, change: dict, message: str
) -> None:
    assert re.search(message, refused(task, replace(tiny, **change), tmp_path / "run"))
    assert list(tmp_path.iterdir()) == []


def test_too_few_images_for_a_step_are_refused_with_the_largest_batch(tmp_path: Path) -> None:
    message = "the 48 training images do not fill one step of 64 .*lower batch_size to 48 or less"
    assert re.search(message, refused(CLASSIFY, replace(TINY, batch_size=64), tmp_path / "run"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "config",
    [TINY, SegmentConfig(steps=None, epochs=3, optim=TINY.optim)],
    ids=["classify", "segment"],
)
@pytest.mark.parametrize("accumulate", [1, 2, 4])
@pytest.mark.parametrize("images", [2, 3, 5, 31, 100])
def test_the_advice_for_few_images_works(config: RunConfig, images: int, accumulate: int) -> None:
    """Also with mixup, which takes them in pairs."""
    assert TINY.augment.mixes
    config = replace(config, batch_size=128, accumulate=accumulate)
    with pytest.raises(ValueError, match=f"the {images} training images do not fill") as caught:
        make_plan(config, images, torch.device("cpu"))
    advice: Any = {key: int(value) for key, value in re.findall(r"(accumulate|batch_size) to (\d+)", str(caught.value))}
    plan = make_plan(replace(config, **advice), images, torch.device("cpu"))
    assert plan.steps_per_epoch >= 1
    assert plan.share.micro_batch % 2 == 0


def test_a_folder_with_a_run_is_left_alone_where_resume_is_never(every_run: TrainResult) -> None:
    before = {path: path.stat().st_mtime_ns for path in every_run.out.rglob("*")}
    with pytest.raises(ValueError, match="has a run in it already"):
        train(every_run.task, every_run.config, every_run.out, resume="never")
    assert {path: path.stat().st_mtime_ns for path in every_run.out.rglob("*")} == before


def test_the_weights_that_a_run_starts_from_are_read_once(
    tiny_run: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though they also say which model and which size it is."""
    read, original = [], fetching.read_checkpoint

    def counted(path: Path, *, ema: bool = False) -> Any:
        read.append(Path(path))
        return original(path, ema=ema)

    monkeypatch.setattr(fetching, "read_checkpoint", counted)
    start = replace(TINY, model="auto", img_size=None, weights=str(tiny_run.last), epochs=1, accumulate=1)
    result = train(CLASSIFY, start, tmp_path / "run")
    assert result.config.model == TINY.model
    assert len([path for path in read if tiny_run.out in (path, *path.parents)]) == 1


def test_a_part_that_the_model_has_not_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    config = replace(TINY, optim=replace(TINY.optim, lr_parts=(("backbone", 0.1),)))
    assert "no part 'backbone'; it has stem, stages, norm, head" in refused(CLASSIFY, config, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_part_with_a_rate_of_zero_stays_as_it_was(tmp_path: Path) -> None:
    optim = replace(TINY_SCENES.optim, lr_parts=(("backbone", 0.0),), ema_decay=None)
    config = replace(TINY_SCENES, optim=optim, steps=2)
    before, after = (
        load_file(train(SEGMENT, replace(config, steps=steps), tmp_path / str(steps)).last / "model.safetensors")
        for steps in (2, 4)
    )
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in before if name.startswith("backbone.")} <= same
    assert any(name not in same for name in before if name.startswith("decode_head."))


class Oriented:
    """Pictures, of which every third is portrait."""

    def __init__(self, pictures: Any) -> None:
        self.pictures, self.classes, self.name = pictures, pictures.classes, pictures.name

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Any:
        return self.pictures[index]

    def aspect(self, index: int) -> float:
        return 0.5 if index % 3 == 0 else 1.5


def test_a_task_says_what_goes_together_and_how_it_becomes_a_batch(tmp_path: Path) -> None:
    class Detecting(Locate):
        def alike(self, config: RunConfig) -> int:
            return 8

        def collate(self, items: list[Any]) -> dict[str, Any]:
            return {"images": torch.stack([image for image, _ in items]), "middles": [middle for _, middle in items]}

    task, config = Detecting(), LocateConfig(device="cpu")
    data = task.open_data(config)
    data = replace(data, train=Oriented(data.train))
    plan = make_plan(config, len(data.train), torch.device("cpu"))
    opened, _ = task.build(config, data, plan, None)
    objective = TrainingObjective(opened, config, data, task.loss(config, data, plan), plan, tmp_path)
    batches = list(objective.batches(0))
    assert [batch["images"].shape for batch in batches] == [(16, 3, 32, 32)] * 3
    assert [len(batch["middles"]) for batch in batches] == [16] * 3
    drawn = [index for update in range(3) for index in objective.loader.sampler.update(0, update)]
    assert sorted(drawn) == list(range(48))
    for at in range(0, 48, 8):
        assert len({index % 3 == 0 for index in drawn[at : at + 8]}) == 1
    objective.close()


def short(name: str, **change: Any) -> RunConfig:
    """A task's shortest run, of a size that is the same everywhere, so that nothing is resized."""
    length = {"epochs": 1, "train_images": 16} if name == "classify" else {"steps": 2}
    return replace(TASKS[name][1], img_size=64, windows=(4, 4, 4, 2), accumulate=1, **length, **change)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The short run of each task, made once. Do not change its files."""
    return cache(lambda name: train(TASKS[name][0], short(name), tmp_path_factory.mktemp(name) / "run").out)


@pytest.mark.parametrize("before", TASKS)
@pytest.mark.parametrize("name", ["segment", "detect"])
def test_heads_start_on_any_tasks_backbone(
    name: str, before: str, started: Callable[[str], Path], tmp_path: Path
) -> None:
    again = train(TASKS[name][0], short(name, weights=str(started(before))), tmp_path / "after")
    assert again.best.is_dir()


@pytest.mark.parametrize("before", ["segment", "detect"])
def test_a_classifier_does_not_start_on_a_backbone_that_lacks_its_norm(
    before: str, started: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=f"the task {before}, whose backbone lacks a classifier's last norm"):
        train(CLASSIFY, short("classify", weights=str(started(before))), tmp_path / "classifier")
