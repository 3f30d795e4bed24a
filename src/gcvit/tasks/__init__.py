"""What the package trains and evaluates models for: a description of each task, and what exists once for all."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from gcvit.errors import UserError
from gcvit.tasks.classify import CLASSIFY
from gcvit.tasks.detect import DETECT
from gcvit.tasks.segment import SEGMENT
from gcvit.wording import listed

if TYPE_CHECKING:
    from pathlib import Path

    from gcvit.tasks.config import RunConfig
    from gcvit.tasks.opened import Opened
    from gcvit.tasks.task import Task
    from gcvit.weights.reading import Checkpoint

TASKS: list[Task] = [CLASSIFY, SEGMENT, DETECT]


def task_named(name: str) -> Task:
    """The task of that name. Raises UserError, listing them, when there is none."""
    found = next((task for task in TASKS if task.name == name), None)
    if found is None:
        names = [task.name for task in TASKS]
        near = get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"there are {listed(names)}"
        raise UserError(f"there is no task {name!r:.80}; {hint}")
    return found


def task_of_data(path: Path) -> Task:
    """The task that what lies at `path` looks like the data of; classification where it looks like no other's."""
    return next((task for task in TASKS if task is not CLASSIFY and task.recognises(path)), CLASSIFY)


def task_for(config: RunConfig) -> Task:
    """The task that a run with this configuration is of. Raises UserError for the configuration of none."""
    found = next((task for task in TASKS if type(config) is task.config), None)
    if found is None:
        kinds = ", ".join(f"{task.config.__module__}.{task.config.__name__}" for task in TASKS)
        raise UserError(f"{type(config).__name__} is no task's configuration; there are {kinds}")
    return found


def task_of(checkpoint: Checkpoint) -> Task:
    """The task that a checkpoint is of: what its config.json says, classification where that says nothing or is none.

    Raises UserError for a task that is not known.
    """
    try:
        return CLASSIFY if checkpoint.task is None else task_named(checkpoint.task)
    except UserError as error:
        raise UserError(f"{checkpoint.origin}: {error}") from error


def open_checkpoint(checkpoint: Checkpoint) -> Opened:
    """Make the model of a checkpoint, which may be a file of another program that a task knows; see `task_of`."""
    for task in TASKS:
        checkpoint = task.adopted(checkpoint)
    return task_of(checkpoint).open(checkpoint)
