"""The folder that a run writes into: a new one, or that of a run which goes on."""

import errno
import json
from collections.abc import Collection, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import IO, Any, Literal

from gcvit.engine.record import changes
from gcvit.errors import UserError
from gcvit.files import require_folder
from gcvit.meta import CHECKPOINTS, CONFIG, newest_meta

RUNS = Path("gcvit-runs")
LOCK, LOG = ".lock", "log.jsonl"
REPORT = "report.html"  # written last: a run that has it is finished

Resume = Literal["auto", "moved", "never"]


class RunFolder:
    """A run's own folder: while this object lives, no other process can open it.

    goes_on: there is a run in it. notes: what a person should know of how it was found.
    """

    def __init__(self, path: Path, goes_on: bool, lock: IO[str] | None = None, notes: Sequence[str] = ()) -> None:
        self.path, self.goes_on, self.notes, self._lock = path, goes_on, list(notes), lock


def open_run(
    out: str | Path | None,
    name: str,
    record: Mapping[str, Any],
    *,
    resume: Resume,
    free: Collection[str] = (),
    runs: Path = RUNS,
) -> RunFolder:
    """The folder for a run with this record (as `record_of` gives it), or with a configuration alone, {"config": …}.

    out: the folder. None: of `runs`/`name`-001, -002, … the last one whose run is unfinished and has the same
        configuration and data, if `resume` allows it, else a new one.
    resume: auto goes on with a run whose data lie where they did, moved also where they lie elsewhere now.
    free: keys of the configuration that may have changed, since the weights do not depend on them.

    Raises UserError for a folder that cannot be, has something else in it, has a run that may not go on, that another
    process is writing, or whose configuration or data are others (with the differences). Writes nothing then.
    """
    if out is None:
        return _numbered(name, record, resume, free, runs)
    folder = Path(out)
    check_folder(folder, record, resume=resume, free=free)
    folder.mkdir(parents=True, exist_ok=True)
    lock = _lock(folder)
    if lock is None:
        raise UserError(f"{folder}: another process is training into it; give another folder, or wait for it")
    check_folder(folder, record, resume=resume, free=free)  # again, for what another process did in between
    return RunFolder(folder, _is_run(folder), lock, _damage(folder))


def check_folder(folder: Path, now: Mapping[str, Any], *, resume: Resume, free: Collection[str] = ()) -> None:
    """Raise UserError when `open_run` would refuse the folder, unless for another process; writes nothing.

    now: the record of the run, or that part of it which is known before its data are (`settings_of`).
    """
    require_folder(folder)
    if not folder.is_dir() or all(entry.name.startswith(".") for entry in folder.iterdir()):
        return
    if not _is_run(folder):
        raise UserError(f"{folder} has files in it already, but no run; give the name of a new folder for the results")
    if resume == "never":
        raise UserError(f"{folder} has a run in it already, and resume is never; give the name of a new folder")
    then = _record(folder)
    if found := changes(then, now, free=free, moved=resume == "moved"):
        said = f"{folder} has a run with another configuration, which cannot go on with this one: {'; '.join(found)}"
        if not changes(then, now, free=free, moved=True):
            raise UserError(f"{said}. If the same images lie there now, add --data-moved; else give another folder")
        raise UserError(f"{said}. Give it the same settings (--config {folder / CONFIG}), or another folder")


def _numbered(name: str, now: Mapping[str, Any], resume: Resume, free: Collection[str], runs: Path) -> RunFolder:
    taken = [folder for folder in runs.glob(f"{name}-*") if folder.name.removeprefix(f"{name}-").isdigit()]
    notes = []
    for folder in sorted(taken, key=lambda folder: int(folder.name.rpartition("-")[2]), reverse=True):
        if _can_go_on(folder, now, resume, free):
            if (lock := _lock(folder)) and _can_go_on(folder, now, resume, free):  # still, with nobody else in it
                return RunFolder(folder, goes_on=True, lock=lock, notes=_damage(folder))
        elif resume == "auto" and _can_go_on(folder, now, "moved", free):
            notes.append(f"{folder} is unfinished and has other data; if they have only moved, add --data-moved")
    numbers = count(1)
    while True:
        folder = runs / f"{name}-{next(numbers):03}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:  # also when another run has just taken it
            continue
        if lock := _lock(folder):
            return RunFolder(folder, goes_on=False, lock=lock, notes=notes)


def _can_go_on(folder: Path, now: Mapping[str, Any], resume: Resume, free: Collection[str]) -> bool:
    if resume == "never" or (folder / REPORT).exists():
        return False
    try:
        return _is_run(folder) and not changes(_record(folder), now, free=free, moved=resume == "moved")
    except UserError:  # what cannot be read is not this one
        return False


def _is_run(folder: Path) -> bool:
    return (folder / CONFIG).is_file() or newest_meta(folder / CHECKPOINTS) is not None


def _record(folder: Path) -> Mapping[str, Any]:
    """What the newest checkpoint says of its run; before there is one, the configuration alone."""
    meta = newest_meta(folder / CHECKPOINTS)
    return {"config": _config(folder)} if meta is None else meta


def _config(folder: Path) -> Mapping[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{folder / CONFIG}: not readable as JSON ({error}); give another folder") from error
    if not isinstance(config, dict):
        raise UserError(f"{folder / CONFIG}: not readable as JSON of a configuration; give another folder")
    return config


def _damage(folder: Path) -> list[str]:
    """That the file with the configuration is not as it was, which does no harm once there is a checkpoint."""
    if newest_meta(folder / CHECKPOINTS) is None:
        return []
    try:
        _config(folder)
    except (UserError, OSError):
        return [f"{folder / CONFIG}: damaged or missing; it is written anew"]
    return []


def _lock(folder: Path) -> IO[str] | None:
    """Hold the folder until this process ends or drops the file; None when another one holds it.

    A record lock, since those of `flock` go on in loader processes for seconds after their parent was killed.
    """
    import fcntl  # not on Windows, where only training fails for it

    file = (folder / LOCK).open("w")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            file.close()
            return None  # any other reason is a file system without locks: then there is none
    return file
