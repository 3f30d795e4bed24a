"""What runs and evaluations leave in a folder: a page that needs nothing else, pictures, figures to compute with."""

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gcvit.engine.config import as_dict, load_config
from gcvit.engine.log import read_log
from gcvit.tasks import task_named
from gcvit.tasks.detect import DETECT
from gcvit.tasks.evaluate import Measured
from gcvit.tasks.evaluation import Evaluation
from gcvit.tasks.results import check_results_folder, save_curves, save_outputs, write_evaluation, write_report
from gcvit.tasks.segment import SEGMENT, SegmentConfig
from gcvit.tasks.task import Data, Task
from gcvit.tasks.train import TrainResult
from tasks import evaluations, photos, scenes, things
from tasks.evaluations import EVIL
from tasks.html_page import Page
from tasks.tiny import TASKS, every_task


def measured(task: Task) -> Evaluation:
    """Of few pictures, one of which, of an evil name, could not be read, with a class of another."""
    found: Evaluation
    if task is SEGMENT:
        sizes = [*scenes.SIZES[:5], None]
        found = scenes.evaluate(scenes.Scenes(sizes), classes=[EVIL, *scenes.CLASSES[1:]], bad_images="skip")
    elif task is DETECT:
        classes = [EVIL, *things.CLASSES[1:]]
        found = things.evaluate(things.Things([*things.SIZES, None]), classes=classes, bad_images="skip")
    else:
        found = photos.evaluate(photos.Photos([*photos.SIZES, None]), bad_images="skip")
        found = replace(found, classes=[EVIL, *photos.CLASSES[1:]])
    (left,) = found.unreadable
    return replace(found, unreadable=[left._replace(file="ring/<b>1.png")])


@pytest.fixture(scope="module")
def evaluated() -> dict[str, Evaluation]:
    return {name: measured(task_named(name)) for name in TASKS}


def write(folder: Path, task: Task, evaluation: Evaluation, **extra: Any) -> Page:
    path = write_report(folder, title=EVIL, evaluation=evaluation, task=task, **extra)
    assert path == folder / "report.html"
    return Page(path)


def events(task: Task) -> list[dict]:
    """Of a short run that is counted in steps."""
    start = {"parameters": 1234, "training_images": 9, "device": "cpu", "precision": "fp32", "versions": {"torch": "2"}}
    found: list[dict] = [{"event": "start", "time": 0.0, **start}]
    for step in (10, 20, 25):
        found.append({"event": "steps", "time": step, "step": step, "epoch": 1, "loss": 1.0, "images_per_second": 5.0})
        scores = dict.fromkeys(task.curves, 0.5) | {task.score: step / 30, "loss": 1.1}
        evaluation = {"event": "evaluation", "time": step, "step": step, "epoch": step // 10, "best": step < 25}
        found.append({**evaluation, **scores})
    return found


@pytest.fixture(scope="module")
def written(evaluated: dict[str, Evaluation], tmp_path_factory: pytest.TempPathFactory) -> Callable[[Task], Page]:
    """The report of a task's evaluation, each written once: with commands and the settings of a run."""

    @cache
    def make(task: Task) -> Page:
        folder, (_, tiny) = tmp_path_factory.mktemp(task.name), TASKS[task.name]
        commands = [("look", ["gcvit", "predict", "my <run>"])]
        page = write(folder, task, evaluated[task.name], commands=commands, config=tiny)
        assert list(folder.iterdir()) == [folder / "report.html"]
        assert "http" not in re.sub(r"base64,[^\"]*", "", (folder / "report.html").read_text())
        return page

    return make


@every_task
def test_a_report_needs_nothing_else_and_runs_nothing(
    task: Task, tiny: object, written: Callable[[Task], Page]
) -> None:
    page = written(task)
    assert "script" not in page.tags
    assert {source.split(",")[0] for source in page.sources} == {"data:image/png;base64", "data:image/jpeg;base64"}
    assert page.text.count(EVIL) >= 3
    assert "gcvit predict 'my <run>'" in page.text


@every_task
def test_its_numbers_are_the_evaluations(
    task: Task, tiny: object, written: Callable[[Task], Page], evaluated: dict[str, Evaluation]
) -> None:
    found = evaluated[task.name]
    text = " ".join(written(task).text.split())
    for name, value, meaning in found.numbers():
        assert f"{name} {value} {meaning}" in text
    assert f"Measured on {found.basis()}." in text
    assert "1 image could not be read" in text
    ((_, file, reason),) = found.unreadable
    assert f"{file} {reason}" in text
    assert found.caution is not None
    assert found.caution in text
    for row in (*found.per_class().rows, *found.confused(10).rows):
        assert " ".join(row) in text


@every_task
def test_images_that_were_left_out_are_escaped(task: Task, tiny: object, written: Callable[[Task], Page]) -> None:
    assert "ring/<b>1.png" in written(task).text


def test_a_slow_model_has_a_speed(tmp_path: Path) -> None:
    assert "0.045/s" in write(tmp_path, task_named("classify"), evaluations.evaluation(9, seconds=200.0)).text


def test_a_run_is_described_from_its_configuration_and_log(every_run: TrainResult, tmp_path: Path) -> None:
    task = every_run.task
    config = load_config(task.config(), every_run.out / "train.json")
    log = read_log(every_run.out / "log.jsonl")
    page = write(tmp_path, task, every_run.evaluation, config=config, events=log)
    text = " ".join(page.text.split())
    assert page.tags.count("details") == 2
    unit, usual = ("steps", task.config().steps) if config.steps else ("epochs", task.config().epochs)
    assert f"{unit} {getattr(config, unit)} {usual}" in text
    assert text.index("optim.ema_decay") < text.index("optim.betas")  # changed settings come first
    assert "arch.depths none" in text
    assert f"best {unit[:-1]} {every_run.best_at} of {getattr(config, unit)} {unit}" in text
    assert "images/s (median)" in text
    assert "1 process" in text
    (tmp_path / "without").mkdir()
    without = write(tmp_path / "without", task, every_run.evaluation)
    assert page.tags.count("img") == without.tags.count("img") + 2  # the curves


@every_task
def test_a_run_leaves_its_pictures_and_the_report_last(
    task: Task, tiny: Any, tmp_path: Path, evaluated: dict[str, Evaluation]
) -> None:
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events(task)))
    config, found = replace(tiny, data="my data", epochs=None, steps=25), evaluated[task.name]
    data = Data(found.pictures, found.pictures, "my data", found.classes, found.palette)
    outputs = save_outputs(tmp_path, task, config, data, found)
    pictures = {file for name, file in outputs.items() if name != "report"}
    assert {path.name for path in tmp_path.iterdir()} == {"log.jsonl", "report.html", *(path.name for path in pictures)}
    assert outputs.keys() == {"report", "curves", *found.charts("t")}
    for path in pictures:
        assert path.stat().st_mtime_ns <= outputs["report"].stat().st_mtime_ns
        with Image.open(path) as image:
            assert image.width > 500
    text = Page(outputs["report"]).text
    assert f"gcvit eval {tmp_path}" in text
    assert f"gcvit predict {tmp_path} photo.jpg" in text
    assert f"gcvit train {task.name} --config {tmp_path}/train.json --weights {tmp_path} --data YOUR_IMAGES" in text
    assert text.count("my data") >= 2


def test_a_run_from_published_weights_goes_on_from_its_own(tmp_path: Path, evaluated: dict[str, Evaluation]) -> None:
    (tmp_path / "log.jsonl").write_text("")
    found = evaluated["segment"]
    data = Data(found.pictures, found.pictures, "my data", found.classes, found.palette)
    outputs = save_outputs(tmp_path, SEGMENT, replace(SegmentConfig(), pretrained=True), data, found)
    assert f"--weights {tmp_path} --no-pretrained --data YOUR_IMAGES" in Page(outputs["report"]).text


@every_task
def test_there_are_no_curves_without_an_evaluation(task: Task, tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(json.dumps(events(task)[0]) + "\n")
    save_curves(tmp_path, task, tiny)
    assert not (tmp_path / "curves.png").exists()


@every_task
def test_an_evaluation_leaves_figures_to_compute_with(
    task: Task, tiny: object, tmp_path: Path, evaluated: dict[str, Evaluation]
) -> None:
    found = evaluated[task.name]
    opened = {"segment": scenes, "detect": things}.get(task.name, photos).opened()
    out = tmp_path / "a" / "b"
    measured = Measured("a <run>", opened, task.looks(), None, "cpu", "fp32", "some pictures", found)
    write_evaluation(out, measured)
    charts = {f"{name}.png" for name in found.charts("t")}
    assert {file.name for file in out.iterdir()} == {
        "metrics.json", "report.html", *charts, *found.files(), *(f"{name}.csv" for name in found.tables())
    }  # fmt: skip
    assert json.loads((out / "metrics.json").read_text()) == measured.to_dict()
    for name, table in found.tables().items():
        with (out / f"{name}.csv").open(newline="") as file:
            heading, *rows = csv.reader(file)
        assert heading == table.heading
        assert rows == [[str(cell) for cell in row] for row in table.rows]
        assert all(len(row) == len(heading) for row in rows)
    text = Page(out / "report.html").text
    assert "gcvit predict 'a <run>' photo.jpg" in text
    assert "some pictures" in text


@every_task
def test_the_score_leads_everywhere(task: Task, tiny: object, evaluated: dict[str, Evaluation]) -> None:
    """What is shown first, what the curves show first, and what picks the best weights are one."""
    found = evaluated[task.name]
    score = found.metrics[task.score]
    assert score is not None
    assert isfinite(score)
    assert next(iter(found.metrics)) == next(iter(task.curves)) == task.score
    assert found.numbers()[0].value == f"{score:.1%}"
    assert found.to_dict()[task.score] == score
    assert set(task.curves) <= found.metrics.keys()


def test_a_name_that_is_no_text_is_written(tmp_path: Path, evaluated: dict[str, Evaluation]) -> None:
    """A file's name may be any bytes."""

    class Odd(photos.Photos):
        def name(self, index: int) -> str:
            return f"photos/\udcff{index}.png"

    opened = photos.opened()
    found = photos.evaluate(Odd([*photos.SIZES, None]), bad_images="skip")
    write_evaluation(tmp_path, Measured("run", opened, opened.task.looks(), None, "cpu", "fp32", "odd", found))
    assert "\\udcff0.png" in (tmp_path / "predictions.csv").read_text("utf8")


def test_results_do_not_go_over_a_file_or_among_a_runs(tmp_path: Path, every_run: TrainResult) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file; give the name of a folder"):
        check_results_folder(tmp_path / "file")
    with pytest.raises(ValueError, match="is a training run's folder; give another one for the results, such as"):
        check_results_folder(every_run.out)
    check_results_folder(tmp_path / "new")
    check_results_folder(tmp_path)


@every_task
def test_all_settings_are_told(task: Task, tiny: Any, written: Callable[[Task], Page]) -> None:
    text = written(task).text

    def names(values: dict, prefix: str = "") -> list[str]:
        found = []
        for name, value in values.items():
            found += names(value, f"{prefix}{name}.") if isinstance(value, dict) else [prefix + name]
        return found

    assert [name for name in names(as_dict(tiny)) if f" {name} " not in text] == []
