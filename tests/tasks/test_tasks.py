"""The list of tasks, and which one a checkpoint is of."""

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from gcvit.tasks import TASKS, task_named, task_of
from gcvit.tasks.classify import CLASSIFY
from gcvit.tasks.config import RunConfig
from gcvit.tasks.segment import SEGMENT
from gcvit.tasks.task import Task
from gcvit.weights.reading import Checkpoint


def checkpoint(config: Any) -> Checkpoint:
    return Checkpoint({}, "a model", config)


def test_tasks_are_found_by_their_names() -> None:
    for task in TASKS:
        assert task_named(task.name) is task
    with pytest.raises(ValueError, match="there is no task 'detection'; did you mean detect"):
        task_named("detection")


def test_a_checkpoint_says_its_task_and_is_a_classifiers_where_it_does_not() -> None:
    assert task_of(checkpoint({"task": "segment"})) is SEGMENT
    assert task_of(checkpoint({"task": "classify"})) is CLASSIFY
    assert task_of(checkpoint({"architecture": "gc_vit_tiny"})) is CLASSIFY
    assert task_of(checkpoint(None)) is CLASSIFY
    with pytest.raises(ValueError, match="a model: there is no task 'flow'; there are classify, segment, detect"):
        task_of(checkpoint({"task": "flow"}))
    for wrong in (3, ["segment"], {"a": "b" * 1000}):
        with pytest.raises(ValueError, match=r"a model: task in its config\.json should be a name, not ") as caught:
            task_of(checkpoint({"task": wrong}))
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_description_is_whole(task: Task) -> None:
    assert issubclass(task.config, RunConfig)
    assert task.name.isidentifier()
    assert task.recipes
    assert task.score == next(iter(task.curves))
    for settings in (task.config, task.looks, task.telling, task.reading, task.preprocessing):
        assert is_dataclass(settings)
        assert settings() == settings()
    assert task.config.__module__ == f"gcvit.tasks.{task.name}.config"
    asked = (task.looks, task.telling, *(type(part) for part in [getattr(task.config(), "head", None)] if part))
    assert {part.__module__ for part in asked} == {f"gcvit.tasks.{task.name}.settings"}
    reading = getattr(task.config(), "reading", None)
    assert reading is None or isinstance(reading, task.reading)
    assert bool(fields(task.reading)) == (reading is not None)


def test_examples_are_data_that_the_task_trains_on(tmp_path: Path) -> None:
    for task in TASKS:
        out = tmp_path / task.name
        task.write_examples(out, {"train": 12, "val": 10}, 40, 5, iter)
        data = task.open_data(task.config(data=str(out), batch_size=2))  # type: ignore[call-arg]
        assert (len(data.train), len(data.held_out), data.name) == (12, 10, str(out))
        assert data.train[0][0].size == (40, 40)
        held_out = out / task.example_pictures
        assert {Path(data.held_out.name(index)) for index in range(10)} == set(held_out.rglob("*.png"))
