"""Where pictures and their label files lie: ADE20K's folders, and any pair of folders."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from gcvit.data.images import find_images

PICTURES = "images"
LABELS = ("annotations", "labels", "masks")
TRAINING = ("training", "train")
HELD_OUT = ("validation", "val", "valid", "test")  # the first one there is evaluated on
WHOLE = "whole"  # neither: to be divided
LABEL_SUFFIXES = frozenset({".png", ".bmp", ".tif", ".tiff"})

CLASSES = "classes.txt"
ADE, ADE_CLASSES = "ADEChallengeData2016", "objectInfo150.txt"
_ADE_NUMBER = 150


class Pair(NamedTuple):
    """A picture and the file with its labels."""

    picture: Path
    labels: Path


@dataclass(frozen=True)
class Part:
    """What is in one folder of pictures and one of label files, sorted by name.

    without_labels, without_picture: files whose partner is missing. doubles: files of the same name but for the
    suffix, of which it is unknown which one is meant.
    """

    pictures: Path
    labels: Path
    pairs: list[Pair]
    without_labels: list[Path]
    without_picture: list[Path]
    doubles: list[Path]

    def checked(self) -> list[Pair]:
        """The pairs. Raises ValueError for none, pictures without labels, and doubles; labels alone do no harm."""
        if self.doubles:
            raise ValueError(f"{self.doubles[0].parent}: the same name twice, {_listed(self.doubles)}; remove one")
        if self.without_labels:
            raise ValueError(
                f"{self.labels}: no label file ({', '.join(sorted(LABEL_SUFFIXES))}) for "
                f"{_listed(self.without_labels)}; add them with the pictures' names, or move these pictures away"
            )
        if not self.pairs:
            raise ValueError(f"{self.pictures}: no pictures in it")
        return self.pairs


@dataclass(frozen=True)
class Layout:
    """A folder of scenes. parts: by the name of their folder, or one with the name WHOLE."""

    root: Path
    parts: dict[str, Part]
    is_ade: bool

    @property
    def training(self) -> str | None:
        """The part to train on; WHOLE where it is to be divided."""
        return next((name for name in (*TRAINING, WHOLE) if name in self.parts), None)

    @property
    def held_out(self) -> str | None:
        return next((name for name in HELD_OUT if name in self.parts), None)


def find_scenes(root: str | os.PathLike[str]) -> Layout:
    """The pictures in ROOT/images and their label files in ROOT/annotations (or labels, masks), paired by name.

    Both may have the folders training (or train) and validation (val, valid, test). ROOT is ADE20K's if it, or a
    folder of that name in it, is called ADEChallengeData2016, or if objectInfo150.txt lies in it.

    Raises ValueError where one of the two folders, or a part of the labels, is missing or cannot be read.
    """
    root, pictures, labels = _folders(Path(root))
    is_ade = root.resolve().name == ADE or (root / ADE_CLASSES).is_file()
    names = [name for name in (*TRAINING, *HELD_OUT) if (pictures / name).is_dir()]
    if not names:
        return Layout(root, {WHOLE: _pair(pictures, labels)}, is_ade)
    needed = [next((name for name in group if name in names), None) for group in (TRAINING, HELD_OUT)]
    parts = {}
    for name in names:
        folder = _part_of(labels, name, names)
        if folder is not None:
            parts[name] = _pair(pictures / name, folder)
        elif name in needed:  # others, such as a test part whose labels nobody has, are no loss
            raise ValueError(
                f"{labels}: no folder {name}/ in it, although there is {pictures / name}; add the labels, or move "
                "these pictures away"
            )
    return Layout(root, parts, is_ade)


def has_held_out(root: str | os.PathLike[str]) -> bool:
    """Whether there is a part to evaluate on, without looking at any file. Raises ValueError as `find_scenes`."""
    _, pictures, _ = _folders(Path(root))
    return any((pictures / name).is_dir() for name in HELD_OUT)


def read_class_names(layout: Layout, classes_file: str | os.PathLike[str] | None = None) -> list[str] | None:
    """The classes' names in `classes_file`, or else those that lie with the scenes; None where there are none.

    Raises ValueError for a file that cannot be read, is empty, or has a name twice.
    """
    if classes_file is not None:
        return _names_in(Path(classes_file))
    for file in (layout.root / CLASSES, layout.root / ADE_CLASSES):
        if file.is_file():
            return _names_in(file)
    return generic_names(_ADE_NUMBER) if layout.is_ade else None


def generic_names(count: int) -> list[str]:
    """ "class 0", "class 1" …"""
    return [f"class {label}" for label in range(count)]


def _names_in(file: Path) -> list[str]:
    """A name a line; or ADE20K's own table, whose last column is a name and its synonyms."""
    try:
        lines = [line.strip() for line in file.read_text("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no valid text (UTF-8)"
        raise ValueError(f"{file}: cannot read the classes' names: {reason}") from error
    if lines and lines[0].startswith("Idx\t"):
        lines = [line.split("\t")[-1].split(",")[0].strip() for line in lines[1:]]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise ValueError(f"{file}: no names in it; expected one class a line")
    for number, name in enumerate(lines):
        if not name:
            raise ValueError(f"{file}: line {number + 1} is empty; expected one class a line")
        if name in lines[:number]:
            raise ValueError(f"{file}: {name!r} stands in it twice; classes need different names")
    return lines


def _folders(root: Path) -> tuple[Path, Path, Path]:
    """The set's own folder, which may lie in `root`, and in it those of the pictures and of the label files."""
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder")
    if (root / ADE).is_dir():
        root = root / ADE
    pictures = root / PICTURES
    labels = next((root / name for name in LABELS if (root / name).is_dir()), None)
    if labels is None or not pictures.is_dir():
        raise ValueError(
            f"{root}: expected the pictures in {PICTURES}/ and their label files in {', '.join(LABELS[:-1])} or "
            f"{LABELS[-1]}/, each with training/ and validation/ in it, or without them to be divided"
        )
    return root, pictures, labels


def _part_of(labels: Path, name: str, pictured: Sequence[str]) -> Path | None:
    """The label files' folder for a part, which they may call by another of its names, if no pictures have that."""
    others = [other for other in (TRAINING if name in TRAINING else HELD_OUT) if other not in pictured]
    return next((labels / other for other in (name, *others) if (labels / other).is_dir()), None)


def _pair(pictures: Path, labels: Path) -> Part:
    doubles: list[Path] = []
    seen = _by_name(pictures, lambda file: True, doubles)
    labelled = _by_name(labels, lambda file: file.suffix.lower() in LABEL_SUFFIXES, doubles)
    return Part(
        pictures,
        labels,
        pairs=[Pair(seen[name], labelled[name]) for name in seen if name in labelled],
        without_labels=[file for name, file in seen.items() if name not in labelled],
        without_picture=[file for name, file in labelled.items() if name not in seen],
        doubles=doubles,
    )


def _by_name(folder: Path, wanted: Callable[[Path], bool], doubles: list[Path]) -> dict[str, Path]:
    """Files by their path in the folder without suffix, sorted; of two with one name, the second goes to `doubles`."""
    found: dict[str, Path] = {}
    for file in filter(wanted, find_images(folder)):
        name = str(file.relative_to(folder).with_suffix(""))
        if name in found:
            doubles += [found[name], file]
        else:
            found[name] = file
    return found


def _listed(files: Sequence[Path]) -> str:
    """For a message, the first five."""
    more = f" and {len(files) - 5:,} more" if len(files) > 5 else ""
    return ", ".join(file.name for file in files[:5]) + more
