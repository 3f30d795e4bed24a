"""Files that are written whole or not at all, and JSON that anybody may have written."""

import errno
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO

from gcvit.errors import UserError, naming

LARGEST_JSON = 2**22  # bytes; class names for ImageNet-21K, with descriptions, take half of it
LONGEST_INTEGER = 20  # digits


class Sink:
    """A file to write to from the beginning to the end, with the SHA-256 of what was written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._sum = file, hashlib.sha256()
        self.failure: OSError | None = None

    def write(self, content: bytes | memoryview) -> int:
        """Raises OSError, which is also kept, since torch.save turns it into something else."""
        try:
            written = self._file.write(content)
        except OSError as error:
            self.failure = error
            raise
        self._sum.update(content)
        return written

    def flush(self) -> None:
        """Nothing: `write_durably` does it at the end."""

    @property
    def sha256(self) -> str:
        return self._sum.hexdigest()


def require_folder(path: Path) -> None:
    """Raise UserError where no results can be written into a folder of this name, which need not be there yet: to be
    asked before the work that they take. Nothing is left behind."""
    try:
        there = next(place for place in (path, *path.parents) if place.exists() or place.is_symlink())
        if there.is_dir():
            with TemporaryFile(dir=there):
                return
    except OSError as error:
        raise UserError(f"{path}: no results can be written there ({error.strerror}); give another folder") from error
    raise UserError(f"{there} is a file; give the name of a folder for the results")


def write_atomically(path: Path, content: bytes) -> None:
    """Write aside, flush to the disk, rename. After an error what was at `path` is still there, and nothing else."""
    aside = path.with_name(f".{path.name}.writing")
    try:
        write_durably(aside, lambda file: file.write(content))
        aside.replace(path)
        flush_folder(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def write_durably(path: Path, write: Callable[[Sink], object]) -> str:
    """Let `write` fill the file, and flush it to the disk: after a power cut, too, it is what was written.

    Returns its SHA-256. Raises UserError where there is no such folder, and OSError, naming the file, for a full disk
    and its like."""
    try:
        with path.open("wb") as file:
            sink = Sink(file)
            try:
                write(sink)
            except RuntimeError as error:
                raise (sink.failure or error) from error
            file.flush()
            os.fsync(file.fileno())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error
    except OSError as error:  # that of a full disk names no file
        raise OSError(error.errno, error.strerror, str(path)) from error
    return sink.sha256


def write_json(path: Path, content: object) -> None:
    """Write JSON for programs and people, as `write_atomically` does."""
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def sha256_of(path: Path) -> str:
    """A file's SHA-256 in hexadecimal digits. Raises OSError when it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush_folder(folder: Path) -> None:
    """Flush to the disk which names are in a folder: a rename is durable only after this."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot
            raise
    finally:
        os.close(descriptor)


def read_json(path: Path, most: int = LARGEST_JSON) -> dict[str, Any]:
    """The JSON object in a file, as `parse_json` takes it. Raises UserError, naming the file, for anything else."""
    with naming(path), path.open("rb") as file:
        return parse_json(file.read(most + 1), most)


def parse_json(content: bytes, most: int = LARGEST_JSON) -> dict[str, Any]:
    """A JSON object of at most `most` bytes, in which each key stands once and every number is finite.

    Raises UserError for anything else, however deep or long it is."""
    if len(content) > most:
        raise UserError(f"not readable as JSON (larger than {most:,} bytes)")
    try:
        found = json.loads(
            content.decode(),
            object_pairs_hook=_unique,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_number,
        )
    except (ValueError, RecursionError) as error:
        raise UserError(f"not readable as JSON ({error!s:.200})") from error
    if not isinstance(found, dict):
        raise UserError(f"not readable: it should hold a JSON object, not {type(found).__name__}")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise UserError(f"{twice!r:.80} stands in it twice")
    return found


def _integer(text: str) -> int:
    if len(text) > LONGEST_INTEGER:
        raise UserError(f"a number of {len(text)} digits")
    return int(text)


def _number(text: str) -> float:
    if not isfinite(number := float(text)):
        raise UserError(f"{text:.20} is no finite number")
    return number
