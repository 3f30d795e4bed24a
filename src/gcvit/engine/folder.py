"""The folder that a run writes into: a new one, or that of a run which goes on."""

import errno
import json
from collections.abc import Collection, Mapping
from itertools import count
from pathlib import Path
from typing import IO, Any, Literal

from gcvit.engine.config import differences

RUNS = Path("gcvit-runs")
CONFIG, LOCK = "train.json", ".lock"
REPORT = "report.html"  # written last: a run that has it is finished

Resume = Literal["auto", "never"]


class RunFolder:
    """A run's own folder: while this object lives, no other process can open it. `goes_on`: there is a run in it."""

    def __init__(self, path: Path, goes_on: bool, lock: IO[str] | None = None) -> None:
        self.path, self.goes_on, self._lock = path, goes_on, lock


def open_run(
    out: str | Path | None,
    name: str,
    config: Mapping[str, Any],
    *,
    resume: Resume,
    free: Collection[str] = (),
    runs: Path = RUNS,
) -> RunFolder:
    """The folder for a run with this configuration (as `as_dict` gives it).

    out: the folder. None: of `runs`/`name`-001, -002, … the last one whose run is unfinished and has the same
        configuration, if `resume` allows it, else a new one.
    free: keys of the configuration that may have changed, since the weights do not depend on them.

    Raises ValueError for a folder that is a file, has something else in it, has a run that may not go on, that another
    process is writing, or whose configuration is another (with the differences). Writes nothing then.
    """
    if out is None:
        return _numbered(name, config, resume, free, runs)
    check_folder(out, config, resume=resume, free=free)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    lock = _lock(folder)
    if lock is None:
        raise ValueError(f"{folder}: another process is training into it; give another folder, or wait for it")
    return RunFolder(folder, (folder / CONFIG).exists(), lock)


def check_folder(out: str | Path, config: Mapping[str, Any], *, resume: Resume, free: Collection[str] = ()) -> None:
    """Raise ValueError when `open_run` would refuse `out`, unless for another process; writes nothing."""
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; give the name of a new folder for the results")
    if not folder.is_dir() or all(entry.name.startswith(".") for entry in folder.iterdir()):
        return
    if not (folder / CONFIG).is_file():
        raise ValueError(f"{folder} has files in it already, but no run; give the name of a new folder for the results")
    if resume == "never":
        raise ValueError(f"{folder} has a run in it already, and resume is never; give the name of a new folder")
    if changes := differences(_config(folder), config, free=free):
        raise ValueError(
            f"{folder} has a run with another configuration, which cannot go on with this one: {'; '.join(changes)}. "
            f"Give it the same settings (--config {folder / CONFIG}), or another folder"
        )


def finished(folder: Path) -> bool:
    """Whether the run in `folder` has come to its end."""
    return (folder / REPORT).exists()


def _numbered(name: str, config: Mapping[str, Any], resume: Resume, free: Collection[str], runs: Path) -> RunFolder:
    taken = [folder for folder in runs.glob(f"{name}-*") if folder.name.removeprefix(f"{name}-").isdigit()]
    for folder in sorted(taken, key=lambda folder: int(folder.name.rpartition("-")[2]), reverse=True):
        if resume == "auto" and _can_go_on(folder, config, free) and (lock := _lock(folder)):
            return RunFolder(folder, goes_on=True, lock=lock)
    numbers = count(1)
    while True:
        folder = runs / f"{name}-{next(numbers):03}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:  # also when another run has just taken it
            continue
        return RunFolder(folder, goes_on=False, lock=_lock(folder))


def _can_go_on(folder: Path, config: Mapping[str, Any], free: Collection[str]) -> bool:
    if finished(folder) or not (folder / CONFIG).is_file():
        return False
    try:
        return not differences(_config(folder), config, free=free)
    except ValueError:  # a configuration that cannot be read is not this one
        return False


def _config(folder: Path) -> Any:
    try:
        return json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{folder / CONFIG}: not readable as JSON ({error}); give another folder") from error


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
