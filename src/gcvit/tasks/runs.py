"""What the folder of a run knows, and what a model is measured on because of it: never, without a word, on images that
it was trained on."""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from gcvit.distributed import is_main
from gcvit.engine.config import load_config
from gcvit.engine.record import names_digest
from gcvit.errors import UserError
from gcvit.meta import CHECKPOINTS, CONFIG, list_checkpoints, read_meta
from gcvit.tasks.config import RunConfig, Share
from gcvit.tasks.opened import Opened
from gcvit.tasks.task import HeldOut, Pictures, Task


class HeldOutNote(UserWarning):
    """What a person should know of the pictures that a model is measured on: that it was trained on some, say."""


@dataclass(frozen=True)
class RunRecord:
    """A run's folder and configuration. names: the digest of its training images' names, where it is known."""

    folder: Path
    task: Task
    config: RunConfig
    names: str | None

    def trained_on(self, config: RunConfig) -> Pictures | None:
        """The part of the data that `config` names which the run was trained on, where these are the data that it
        divided, wherever they lie now."""
        train = self.opened(replace(config, val_fraction=self.config.val_fraction, seed=self.config.seed))
        if train is None:
            return None  # they cannot be divided, so they were not
        is_known = self.names is None and self.names_place(config)
        return train if is_known or names_digest(_names(train)) == self.names else None

    def opened(self, config: RunConfig) -> Pictures | None:
        """The training part of the data that `config` names; None where these cannot be trained on."""
        try:
            return self.task.open_data(config).train
        except UserError:
            return None

    def names_place(self, config: RunConfig) -> bool:
        """Whether `config` names the place where the run's own data were."""
        places = (self.config.data, config.data)
        return None not in places and len({os.path.realpath(place or "") for place in places}) == 1


def run_of(source: str | Path, task: Task) -> RunRecord | None:
    """The run that a model of `task` came from, None where it came from none: `source` is the run's folder, a model's
    in it, or a file there. Raises UserError for a configuration that cannot be read."""
    given = Path(source)
    folder = next((place for place in (given, *given.parents[:2]) if (place / CONFIG).is_file()), None)
    if folder is None:
        return None
    return RunRecord(folder, task, load_config(task.config(), folder / CONFIG), _digest(folder))


def hold_out(
    models: Sequence[Opened], config: RunConfig, runs: Sequence[RunRecord | None], share: Share
) -> list[HeldOut]:
    """What each of some models of one task is measured on, the same for all; warns (HeldOutNote) of images that one was
    trained on.

    config: the data, and how they are read and divided. runs: each model's, where it came from one; what the first of
    them held out is what "own" stands for.
    Raises UserError for what cannot be measured on, and for classes that a model does not know.
    """
    task = models[0].task
    is_divided = task.divides(config)
    by_folder = {run.folder: run for run in runs if run}
    own = {folder: run.trained_on(config) for folder, run in by_folder.items() if is_divided}
    if share == "own":
        share = None if next(iter(own.values()), None) is None else config.val_fraction
    if share is not None:
        config = replace(config, val_fraction=share)
    trained = {}
    for folder, record in by_folder.items():
        elsewhere = record.config.data is not None and not record.names_place(config)  # some of these may lie there too
        trained[folder] = own.get(folder) or (record.opened(record.config) if elsewhere else None)
    found = []
    for model, run in zip(models, runs, strict=True):
        held_out = task.open_held_out(config, model, share=share is not None)
        if run is not None:
            train = trained[run.folder]
            if seen := _common(held_out.pictures, train):
                total = len(held_out.pictures)
                words = f"{seen:,} of these {total:,} images are among those that {model.source} was trained on"
                held_out = held_out._replace(described=f"{held_out.described}; {words}")
                _note(words)
            elif train is None and is_divided and run.names_place(config):
                _note(
                    f"{config.data} holds other images than when {run.folder} was trained, so it is not known which of "
                    "them it was trained on"
                )
        found.append(held_out)
    for remark in found[0].remarks:
        _note(remark)
    return found


def _note(words: str) -> None:
    if is_main():
        warnings.warn(words, HeldOutNote, stacklevel=4)


def _common(pictures: Pictures, others: Pictures | None) -> int:
    """How many of the pictures are the same files as some of the others."""
    if others is None:
        return 0
    known = set(map(_place, _names(others)))
    return sum(_place(name) in known for name in _names(pictures))


def _place(name: str) -> str:
    folder, file = os.path.split(name)
    return os.path.join(_real(folder), file)


_real = lru_cache(maxsize=1024)(os.path.realpath)


def _names(pictures: Pictures) -> Iterator[str]:
    return map(pictures.name, range(len(pictures)))


def _digest(folder: Path) -> str | None:
    for path in list_checkpoints(folder / CHECKPOINTS):
        with suppress(UserError, OSError):
            return read_meta(path)["names"]
    return None
