"""What reading a whole set of data has found, whatever the task."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gcvit.data.split_names import is_held_out

CLASSES = 16  # the largest number of classes that are all listed


@dataclass(frozen=True)
class Finding:
    """One thing to know.

    kind: what it is, the same words for all of a kind. files: that it concerns. read_with: fields of `PixelFormat` with
    which these files are read right; nothing is wrong with them then.
    """

    kind: str
    files: list[str]
    detail: str = ""
    read_with: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Health(ABC):
    """What was found.

    root: where. sides: 5 quantiles (least, quarter, median, three quarters, greatest) of the readable pictures' width
    and height, in pixels. mean, std: of each channel, of levels from 0 to 1, over all pixels of the pictures that are
    not held out. faults: to be mended. notes: to be known.
    """

    root: str
    sides: dict[str, list[int]]
    faults: list[Finding]
    notes: list[Finding]
    mean: list[float] = field(default_factory=list)
    std: list[float] = field(default_factory=list)

    @property
    @abstractmethod
    def parts(self) -> dict[str, str]:
        """What is in each part, in words."""

    @abstractmethod
    def per_class(self) -> tuple[list[str], list[list[str]]]:
        """Headings and rows of a table of classes; a heading that starts with ">" is set to the right."""

    @property
    def trains(self) -> bool:
        """Whether there is something to train on."""
        return not all(map(is_held_out, self.parts))

    def facts(self) -> list[tuple[str, str]]:
        """What there is, (name, value) lines for a person."""
        pairs = [("data", self.root), *self.parts.items()]
        for side, (least, quarter, median, three_quarters, most) in self.sides.items():
            spread = f"{least} to {most}, median {median}, half of them {quarter} to {three_quarters}"
            pairs.append((side, spread if least < most else f"{least}"))
        if self.mean:
            mean, std = (" ".join(f"{value:.3f}" for value in part[:SHOWN]) for part in (self.mean, self.std))
            more = f" (of {SHOWN} of {len(self.mean)} channels)" if len(self.mean) > SHOWN else ""
            pairs.append(("levels", f"mean {mean}, deviation {std}, black 0 to white 1{more}"))
        return pairs


SHOWN = 4  # channels


def class_table(
    names: Iterable[str],
    found: Mapping[str, Mapping[str, float]],
    ends: tuple[str, str],
    said: Callable[[Any], str] = "{:,}".format,
) -> tuple[list[str], list[list[str]]]:
    """Headings, and a row for each class: all, or of many the two ends, which are called `ends`.

    found: how much there is of a class, by part; the first part says which are the ends. said: that, for a person."""
    title, names, first = "class", list(names), next(iter(found.values()), {})
    if len(names) > CLASSES:
        title = f"the {CLASSES // 2} {' and '.join(ends)} of {len(names):,} classes"
        names.sort(key=lambda name: (first.get(name, 0), name))
        names[CLASSES // 2 : -CLASSES // 2] = []
    rows = [[name, *(said(part.get(name, 0)) for part in found.values())] for name in names]
    return [title, *(f">{part}" for part in found)], rows
