"""An image inside a tar archive, read in place: its offset and size are all that reading needs."""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """A file in an uncompressed tar archive.

    archive: the tar file. name: the path inside it. offset: of its first byte in the archive. size: in bytes.
    """

    archive: Path
    name: str
    offset: int
    size: int

    def read(self) -> bytes:
        """The file's bytes; safe in threads and in forked processes. Raises OSError, also for a cut-off archive."""
        # pread has its own position, so that processes which share a handle do not move each other's.
        content = os.pread(_opened(self.archive).number, self.size, self.offset)
        if len(content) != self.size:
            raise OSError(f"the archive ends after {len(content):,} of its {self.size:,} bytes")
        return content

    def __str__(self) -> str:
        return f"{self.archive}:{self.name}"


class _Handle:
    """An open file that is closed when nobody reads from it any more."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.close(self.number)


@lru_cache(maxsize=256)  # of the 1,024 files that a process may usually have open
def _opened(archive: Path) -> _Handle:
    return _Handle(os.open(archive, os.O_RDONLY))
