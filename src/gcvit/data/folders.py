"""Folders of images, on a disk or in tar archives: the same to whoever asks what is in them."""

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Protocol, Self

from gcvit.data.images import entries_in, is_image_name, walk
from gcvit.data.members import Contents, Member
from gcvit.data.remarks import Remarks
from gcvit.data.samples import Source
from gcvit.wording import harmless

Names = tuple[str, ...]
Located = tuple[Names, Source]  # an image, and the folders that lead to it


class Folder(Protocol):
    """A folder with what is in it; what is hidden, or left there by systems, is not seen.

    name: of the folder alone. place: where a data set of it lies. str(): its path, for messages.
    """

    @property
    def name(self) -> str: ...

    @property
    def place(self) -> Path: ...

    def folders(self) -> list[Self]:
        """Those directly in it, by name."""

    def holds_images(self) -> bool:
        """Whether there is any image in it or below."""

    def images(self, remarks: Remarks) -> Iterator[Located]:
        """All images in it and below, in the order of their paths; other files are counted in `remarks`."""

    def loose(self, remarks: Remarks) -> list[str]:
        """The images directly in it, as a person calls them; other files in it, and in none of its `folders`, are
        counted in `remarks`."""


class DiskFolder:
    """A folder on a disk. Links are followed. own: files and folders in it that are accounted for, and not seen."""

    def __init__(self, path: Path, own: Collection[str] = ()) -> None:
        self.path = self.place = path
        self.name, self.own = path.name, own

    def __str__(self) -> str:
        return harmless(str(self.path), keep="")

    def folders(self) -> list["DiskFolder"]:
        return [DiskFolder(self.path / entry.name) for entry in self._entries() if entry.is_dir()]

    def holds_images(self) -> bool:
        others, visited = Remarks(), set[str]()
        return any(
            any(walk(self.path / entry.name, others, visited)) if entry.is_dir() else is_image_name(entry.name)
            for entry in self._entries()
        )

    def images(self, remarks: Remarks) -> Iterator[Located]:
        start, last, folders = len(self.path.parts), "", Names()
        for entry in self._entries():
            path = self.path / entry.name
            if entry.is_dir():
                for file in walk(path, remarks):
                    if (parent := str(file).rpartition(os.sep)[0]) != last:  # by far faster than a path's own
                        last, folders = parent, Path(parent).parts[start:]
                    yield folders, file
            elif is_image_name(entry.name):
                yield (), path
            else:
                remarks.pass_over(path)

    def loose(self, remarks: Remarks) -> list[str]:
        files = [self.path / entry.name for entry in self._entries() if not entry.is_dir()]
        for file in files:
            if not is_image_name(file.name):
                remarks.pass_over(file)
        return [str(file) for file in files if is_image_name(file.name)]

    def _entries(self) -> list[os.DirEntry[str]]:
        return [entry for entry in entries_in(self.path) if entry.name not in self.own]


class ArchiveFolder:
    """A folder in tar archives, whose contents are taken together as if they were unpacked into one place."""

    def __init__(
        self, root: Path, members: list[tuple[Names, Member]], others: list[tuple[Names, int, str]], path: Names = ()
    ) -> None:
        """root: what the archives are called together. members: in it and below, sorted, with their paths from the
        archives' top. others: other files in the archives: their folders' paths, how many, and one of them."""
        self.root = self.place = root
        self.name = path[-1] if path else root.name
        self.members, self.others, self.path = members, others, path

    @classmethod
    def of_archives(cls, root: Path, archives: Iterable[tuple[Path, Contents]]) -> Self:
        """All that is in the archives."""
        members, others = [], []
        for archive, contents in archives:
            members += [(tuple(member.name.split("/")), member) for member in contents.images]
            for folder, kinds in contents.passed_over.items():
                path = tuple(folder.split("/")) if folder else ()
                others += [(path, number, f"{archive}:{'/'.join((*path, name))}") for number, name in kinds.values()]
        return cls(root, sorted(members), others)

    @classmethod
    def joined(cls, folders: Sequence[Self]) -> Self:
        """One folder with what is in several."""
        if len(folders) == 1:
            return folders[0]
        members = [(path[len(one.path) :], member) for one in folders for path, member in one.members]
        others = [(path[len(one.path) :], number, name) for one in folders for path, number, name in one._others()]
        return cls(folders[0].root, sorted(members), others)

    def __str__(self) -> str:
        return harmless(":".join(filter(None, (str(self.root), "/".join(self.path)))), keep="")

    def folders(self) -> list["ArchiveFolder"]:
        return self._inside

    @cached_property
    def _inside(self) -> list["ArchiveFolder"]:
        depth, found = len(self.path), []
        for name, group in groupby(self.members, key=lambda member: member[0][depth]):
            if members := [member for member in group if len(member[0]) > depth + 1]:
                found.append(ArchiveFolder(self.root, members, self.others, (*self.path, name)))
        return found

    def holds_images(self) -> bool:
        return bool(self.members)

    def images(self, remarks: Remarks) -> Iterator[Located]:
        depth = len(self.path)
        for _, number, name in self._others():
            remarks.pass_over(name, number)
        return ((path[depth:-1], member) for path, member in self.members)

    def loose(self, remarks: Remarks) -> list[str]:
        depth, inside = len(self.path), {one.name for one in self.folders()}
        for path, number, name in self._others():
            if len(path) == depth or path[depth] not in inside:
                remarks.pass_over(name, number)
        return [str(member) for path, member in self.members if len(path) == len(self.path) + 1]

    def _others(self) -> list[tuple[Names, int, str]]:
        return [other for other in self.others if other[0][: len(self.path)] == self.path]
