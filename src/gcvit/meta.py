"""The names in a run's folder, and what its checkpoints say in their `meta.json`: of their own files, and of the
weights in best/ and last/."""

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from gcvit.errors import UserError
from gcvit.files import sha256_of, write_atomically

FORMAT = 1
CONFIG, BEST, LAST, CHECKPOINTS, ASIDE = "train.json", "best", "last", "checkpoints", ".writing"  # in a run's folder
META = "meta.json"  # in a checkpoint


class DamagedCheckpoint(UserError):
    """A checkpoint that is not what was written."""


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step is."""
    return folder / f"step-{step:09}"


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, the newest first; whole or not."""
    return sorted(folder.glob("step-*"), reverse=True)


def newest_meta(folder: Path) -> dict[str, Any] | None:
    """What the newest checkpoint says whose `meta.json` is whole, whatever its other files are; None without any.

    Raises UserError for one that was written in another format.
    """
    return next(_metas(list_checkpoints(folder)), None)


def last_results(folder: Path) -> Mapping[str, Any] | None:
    """The record of best/ and last/ with the most evaluations, in any checkpoint whose `meta.json` is whole: also one
    that was put aside, and what an older one was told later (`Saver.note`)."""
    metas = _metas([*list_checkpoints(folder), *folder.glob("damaged-step-*")])
    records = [meta.get("later", meta.get("results")) for meta in metas]
    return max(filter(None, records), key=lambda record: len(record["evaluations"]), default=None)


def damage_in(folder: Path, files: Mapping[str, str]) -> str | None:
    """The first of `files`, name → SHA-256, that is missing or another, in words; None when all are as written.

    Raises OSError when one cannot be read now, and UserError for a folder in a file's place.
    """
    for name, expected in files.items():
        path = folder / name
        if path.is_dir():
            raise UserError(f"{path} is a folder, where the run has a file; move it elsewhere")
        try:
            found = sha256_of(path)
        except (FileNotFoundError, NotADirectoryError):  # other reasons may pass, such as too many open files
            return f"{path} is missing"
        if found != expected:
            return f"{path}: damaged, its SHA-256 is not the one in {META}"
    return None


def read_meta(path: Path) -> dict[str, Any]:
    """What `save_checkpoint` was given, with `step`, `format` and `files`. Raises DamagedCheckpoint, and UserError for
    another format."""
    try:
        content = json.loads((path / META).read_text(encoding="utf-8"))
        meta, expected = content["meta"], content["sha256"]
    except (FileNotFoundError, NotADirectoryError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise DamagedCheckpoint(f"{path / META}: damaged, not readable ({error})") from error
    if _digest(meta) != expected:
        raise DamagedCheckpoint(f"{path / META}: damaged, its SHA-256 is another")
    if meta["format"] != FORMAT:
        raise UserError(
            f"{path} is written in format {meta['format']}, and this version of gcvit reads {FORMAT}; go on with the "
            f"version that wrote it ({meta.get('versions', {}).get('gcvit', 'unknown')}), or train into another folder"
        )
    return meta


def amend_meta(path: Path, **changes: Any) -> None:
    """Let a checkpoint's meta say something else, in one step. Raises as `read_meta` and `write_atomically` do."""
    write_atomically(path / META, encoded({**read_meta(path), **changes}))


def check_result(folder: Path, names: Collection[str] | None = None) -> None:
    """Raise UserError unless best/ or last/ of a run holds what the run has recorded; of a folder that no checkpoint
    tells of, such as a copy elsewhere, nothing is known.

    names: the files to compare; None: all. A file of which a newer one still waits aside is no damage: the run was
    stopped before that took its place.
    """
    folder = Path(os.path.abspath(folder))
    saved = _saved(folder)
    while damage := damage_in(folder, _to_compare(folder, saved, names)):
        before, saved = saved, _saved(folder)
        if saved == before:  # else a run that goes on has saved others meanwhile
            raise UserError(
                f"{damage}. Put it back from a copy; or give the command that trained the run once more, with --out "
                f"{folder.parent.name}, which makes {folder.name}/ again where it can; or, if it was changed on "
                f"purpose, copy {folder} out of the run and open that"
            )


def encoded(meta: Mapping[str, Any]) -> bytes:
    """The content of a `meta.json`."""
    return json.dumps({"meta": meta, "sha256": _digest(meta)}, indent=1).encode()


def _saved(folder: Path) -> Mapping[str, str]:
    """The SHA-256 of the files in best/ or last/ as the run has recorded them; empty where nothing is known."""
    with suppress(UserError, OSError):  # of another format, or not for us to read
        results = last_results(folder.parent / CHECKPOINTS) or {}
        return results.get("saved", {}).get(folder.name, {}).get("files", {})
    return {}


def _to_compare(folder: Path, saved: Mapping[str, str], names: Collection[str] | None) -> dict[str, str]:
    aside = folder.parent / ASIDE / folder.name
    return {
        name: digest
        for name, digest in saved.items()
        if (names is None or name in names) and damage_in(aside, {name: digest})
    }


def _metas(paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    for path in paths:
        with suppress(DamagedCheckpoint):
            yield read_meta(path)


def _digest(meta: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()
