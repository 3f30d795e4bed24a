"""Files that are no files of their own: inside tar archives, read in place by offset and size, and in memory."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

LARGEST = 0x7FFF_F000  # bytes that systems read at once


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
        """The file's bytes; safe in threads and in forked processes.

        Raises OSError, also for a cut-off archive, and for a file of 2 GiB or more.
        """
        if self.size > LARGEST:
            raise OSError(f"{self.size:,} bytes are too many for an image")
        # pread has its own position, so that processes which share a handle do not move each other's.
        content = os.pread(_opened(self.archive).number, self.size, self.offset)
        if len(content) != self.size:
            raise OSError(f"the archive ends after {len(content):,} of its {self.size:,} bytes")
        return content

    def __str__(self) -> str:
        return f"{self.archive}:{self.name}"


@dataclass(frozen=True, slots=True)
class FileInMemory:
    """A file whose bytes are here already, such as one that was sent. name: what a person calls it."""

    name: str
    content: bytes = field(repr=False)

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.content)

    def read(self) -> bytes:
        """The file's bytes."""
        return self.content

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Contents:
    """What an archive holds. images: in their order of bytes.

    passed_over: other files, by folder and suffix: how many, and the name of one. Hidden ones are left out.
    """

    images: Sequence[Member]
    passed_over: dict[str, dict[str, tuple[int, str]]]


class _Handle:
    """An open file that is closed when nobody reads from it any more."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.close(self.number)


@lru_cache(maxsize=256)  # of the 1,024 files that a process may usually have open
def _opened(archive: Path) -> _Handle:
    return _Handle(os.open(archive, os.O_RDONLY))
