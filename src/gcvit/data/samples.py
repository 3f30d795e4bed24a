"""The list of a data set's images and labels, small enough for a million of them in every loader process."""

import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gcvit.data.members import Member

Source = Path | Member  # a file, or a file in a tar archive

_NO_OFFSET = -1  # of a file of its own


class Samples(Sequence[tuple[Source, int]]):
    """(where the image is, label), packed into two arrays.

    A million pairs as Python objects take 500 MB, and each loader process would soon have its own copy, because
    counting references writes to shared memory. Here they take 80 MB, shared where processes are forked.

    Attributes:
        labels: (images,) int64.
    """

    def __init__(self, pairs: Iterable[tuple[Source, int]]) -> None:
        places: dict[str, int] = {}  # folders and archives
        names, rows = bytearray(), array("q")
        for source, label in pairs:
            if isinstance(source, Member):
                place, name, offset, size = str(source.archive), source.name, source.offset, source.size
            else:
                (place, name), offset, size = os.path.split(source), _NO_OFFSET, 0
            encoded = os.fsencode(name)
            rows.extend((places.setdefault(place, len(places)), len(names), len(encoded), offset, size, label))
            names += encoded
        self._places, self._names = [Path(place) for place in places], np.frombuffer(bytes(names), np.uint8)
        self._rows = np.frombuffer(rows, np.int64).reshape(-1, 6)

    @property
    def labels(self) -> np.ndarray:
        return self._rows[:, 5]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        """One pair for a number, :class:`Samples` for a slice, numbers or a mask."""
        if isinstance(index, slice | Sequence | np.ndarray):
            return self._with(self._rows[index])
        place, start, length, offset, size, label = self._rows[index].tolist()
        name = os.fsdecode(self._names[start : start + length].tobytes())
        if offset == _NO_OFFSET:
            return self._places[place] / name, label
        return Member(self._places[place], name, offset, size), label

    def __iter__(self) -> Iterator[tuple[Source, int]]:
        return (self[index] for index in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Samples) and list(self) == list(other)

    def relabelled(self, labels: Sequence[int]) -> "Samples":
        """With labels[label] for each label, sorted by the new ones; the order within a label stays."""
        rows = self._rows.copy()
        rows[:, 5] = np.asarray(labels, np.int64)[rows[:, 5]]
        return self._with(rows[np.argsort(rows[:, 5], kind="stable")])

    def _with(self, rows: np.ndarray) -> "Samples":
        other = object.__new__(Samples)
        other._places, other._names, other._rows = self._places, self._names, rows
        return other
