"""Where pictures and their label files lie, and which belong together: ADE20K's folders, and any pair of folders."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from gcvit.data.class_names import names_in
from gcvit.data.folders import DiskFolder
from gcvit.data.images import find_images
from gcvit.data.parts import Parts
from gcvit.data.remarks import Remarks
from gcvit.data.split_names import WHOLE, held_out_below, is_held_out, splits_among
from gcvit.errors import UserError
from gcvit.wording import composed, harmless, listed, plural

PICTURES = "images"
LABELS = ("annotations", "labels", "masks")

CLASSES = "classes.txt"
ADE, ADE_CLASSES = "ADEChallengeData2016", "objectInfo150.txt"
_ADE_NUMBER = 150
_OWN = (CLASSES, ADE_CLASSES, "sceneCategories.txt")  # files in a set's folder that are known

LABEL_SUFFIXES = frozenset({".png", ".bmp", ".tif", ".tiff"})

# What label files' names, and pictures', may end with although it is no part of the name.
_OF_LABELS = r"(?:masks?|labels?|label_?ids|label_?train_?ids|gt|gt_?fine|gt_?coarse|ground_?truths?|seg|segm|segs|"
_OF_LABELS += r"segmentations?|ann|anns|anno|annotations?|target|l)"
_OF_PICTURES = r"(?:images?|imgs?|pictures?|pics?|photos?|rgb|sat|left_?img_?8_?bit)"


class Pair(NamedTuple):
    """A picture and the file with its labels."""

    picture: Path
    labels: Path


@dataclass(frozen=True)
class Part:
    """What is in one folder of pictures and one of label files, sorted by name.

    without_labels, without_picture: files whose partner is missing. doubles: files of the same name but for the
    suffix, or but for the form of Unicode, of which it is unknown which one is meant. remarks: other files in the two
    folders, and which endings of names were taken off.
    """

    pictures: Path
    labels: Path
    pairs: list[Pair]
    without_labels: list[Path]
    without_picture: list[Path]
    doubles: list[Path]
    remarks: Remarks = field(default_factory=Remarks)

    def checked(self) -> list[Pair]:
        """The pairs. Raises UserError for none, pictures without labels, and doubles; labels alone do no harm."""
        if self.doubles:
            raise UserError(f"{self.doubles[0].parent}: the same name twice, {_listed(self.doubles)}; remove one")
        if mismatch := self.mismatch:
            raise UserError(f"{self.labels}: {mismatch}")
        if self.without_labels:
            raise UserError(
                f"{self.labels}: no label file ({', '.join(sorted(LABEL_SUFFIXES))}) for "
                f"{_listed(self.without_labels)}; add them with the pictures' names, or move these pictures away"
            )
        if not self.pairs:
            raise UserError(f"{self.pictures}: no pictures in it")
        return self.pairs

    @property
    def mismatch(self) -> str | None:
        """Why no picture at all has a label file although there are both, and what would help; or None."""
        if self.pairs or not (self.without_labels and self.without_picture):
            return None
        return (
            f"no label file has a picture's name. The pictures are called {_listed(self.without_labels)}, the label "
            f"files {_listed(self.without_picture)}: give them the same names but for the suffix; all label files may "
            "have one ending more, such as _mask"
        )


@dataclass(frozen=True)
class Layout(Parts[Part]):
    """A folder of scenes; its parts have the names of their folders. remarks: what lies beside them."""

    root: Path
    is_ade: bool
    remarks: Remarks = field(default_factory=Remarks)

    def all_remarks(self) -> Remarks:
        """What lies beside the parts and in them."""
        return Remarks.joined(self.remarks, *(part.remarks for part in self.parts.values()))


def find_scenes(root: str | os.PathLike[str]) -> Layout:
    """The pictures in ROOT/images and their label files in ROOT/annotations (or labels, masks), paired by name.

    Both may have the folders training and validation, or what else :mod:`gcvit.data.split_names` knows. ROOT is
    ADE20K's if it, or a folder of that name in it, is called ADEChallengeData2016, or if objectInfo150.txt lies in it.

    Raises UserError where one of the two folders, or a part of the labels, is missing or cannot be read, and where
    held-out pictures would be trained on.
    """
    root, pictures, labels = _folders(Path(root))
    is_ade = root.resolve().name == ADE or (root / ADE_CLASSES).is_file()
    remarks = _beside(root, [pictures.name, labels.name])
    inside = DiskFolder(pictures).folders()
    names = [*splits_among([one.name for one in inside])]
    if not names:
        return Layout({WHOLE: _checked(pair(pictures, labels))}, root, is_ade, remarks)
    _pass_over(remarks, DiskFolder(pictures), [one for one in inside if one.name not in names], names)
    sides = [[name for name in names if is_held_out(name) == side] for side in (False, True)]
    if len(sides[0]) > 1:
        several = listed([f"{name}/" for name in sides[0]])
        raise UserError(f"{pictures}: {several} all look like the pictures to train on; keep one of them")
    needed = [side[0] for side in sides if side]
    parts = {}
    for name in names:
        folder = _part_of(labels, name, names)
        if folder is not None:
            parts[name] = pair(pictures / name, folder)
            if not is_held_out(name):
                _checked(parts[name])
        elif name in needed:  # others, such as a test part whose labels nobody has, are no loss
            raise UserError(
                f"{labels}: no folder {name}/ in it, although there is {pictures / name}; add the labels, or move "
                "these pictures away"
            )
        else:
            _count(remarks, DiskFolder(pictures / name), f"without labels in {labels.name}/")
    return Layout(parts, root, is_ade, remarks)


def has_scenes(root: Path) -> bool:
    """Whether there are folders for pictures and for label files, at a glance."""
    try:
        _folders(root)
    except UserError:
        return False
    return True


def has_held_out(root: str | os.PathLike[str]) -> bool:
    """Whether there is a part to evaluate on, without looking at any file. Raises UserError as `find_scenes`."""
    _, pictures, _ = _folders(Path(root))
    return any(map(is_held_out, splits_among([one.name for one in DiskFolder(pictures).folders()])))


def read_class_names(layout: Layout, classes_file: str | os.PathLike[str] | None = None) -> list[str] | None:
    """The classes' names in `classes_file`, or else those that lie with the scenes; None where there are none.

    Raises UserError for a file that cannot be read, is empty, or has a name twice or that is no harmless text.
    """
    if classes_file is not None:
        return names_in(Path(classes_file))
    for file in (layout.root / CLASSES, layout.root / ADE_CLASSES):
        if file.is_file():
            return names_in(file)
    return generic_names(_ADE_NUMBER) if layout.is_ade else None


def generic_names(count: int) -> list[str]:
    """ "class 0", "class 1" …"""
    return [f"class {label}" for label in range(count)]


def _folders(root: Path) -> tuple[Path, Path, Path]:
    """The set's own folder, which may lie in `root`, and in it those of the pictures and of the label files."""
    if not root.is_dir():
        raise UserError(f"{root}: {'a file; give a folder, unpacked' if root.exists() else 'no such folder'}")
    if (root / ADE).is_dir():
        root = root / ADE
    inside = {one.name.lower(): one.path for one in reversed(DiskFolder(root).folders())}  # a small letter wins
    pictures = inside.get(PICTURES)
    labels = next((inside[name] for name in LABELS if name in inside), None)
    if labels is None or pictures is None:
        raise UserError(
            f"{root}: expected the pictures in {PICTURES}/ and their label files in {', '.join(LABELS[:-1])} or "
            f"{LABELS[-1]}/, each with training/ and validation/ in it, or without them to be divided"
        )
    return root, pictures, labels


def _part_of(labels: Path, name: str, pictured: Sequence[str]) -> Path | None:
    """The label files' folder for a part, which they may call by another of its names, if no pictures have that."""
    roles = splits_among([one.name for one in DiskFolder(labels).folders()])
    others = [one for one in roles if is_held_out(one) == is_held_out(name) and one not in pictured]
    return next((labels / other for other in (name, *others) if (labels / other).is_dir()), None)


def _checked(part: Part) -> Part:
    """The part to train on, if no held-out pictures lie in it."""
    folders = (file.parent.relative_to(part.pictures).parts for file in [pair.picture for pair in part.pairs])
    if found := held_out_below({*folders}):
        raise UserError(
            f"{part.pictures / Path(*found)}: held-out pictures, by the folder's name, among those to train on; move "
            f"the folder above the others, as {PICTURES}/{found[-1]}/, and its labels too, or rename it"
        )
    return part


def _beside(root: Path, own: Sequence[str]) -> Remarks:
    """What lies in the set's folder beside its two folders."""
    remarks, top = Remarks(), DiskFolder(root, (*own, *_OWN))
    _pass_over(remarks, top, top.folders(), own)
    return remarks


def _pass_over(remarks: Remarks, folder: DiskFolder, others: Sequence[DiskFolder], used: Sequence[str]) -> None:
    beside = f"beside {listed([f'{name}/' for name in used])}"
    remarks.pass_over_loose(folder.loose(remarks), folder, beside)
    for other in others:
        _count(remarks, other, beside)


def _count(remarks: Remarks, folder: DiskFolder, why: str) -> None:
    if pictures := sum(1 for _ in folder.images(remarks)):
        remarks.notes.append(f"{folder}: {plural(pictures, 'picture')} {why} passed over")


def pair(pictures: Path, labels: Path) -> Part:
    """The pictures and the label files in two folders, by their paths in them without suffix.

    Where no path is that of both, they are compared without what all label files' names end with, such as _mask or
    _labelIds, and what all pictures' names do. Forms of Unicode make no difference.
    """
    doubles: list[Path] = []
    remarks = Remarks()
    seen = _by_name(pictures, lambda file: True, doubles, remarks)
    labelled = _by_name(labels, lambda file: file.suffix.lower() in LABEL_SUFFIXES, doubles, remarks)
    if not seen.keys() & labelled.keys():
        seen, labelled = _without_endings(seen, labelled, labels, remarks)
    return Part(
        pictures,
        labels,
        pairs=[Pair(seen[name], labelled[name]) for name in seen if name in labelled],
        without_labels=[file for name, file in seen.items() if name not in labelled],
        without_picture=[file for name, file in labelled.items() if name not in seen],
        doubles=doubles,
        remarks=remarks,
    )


def _by_name(folder: Path, wanted: Callable[[Path], bool], doubles: list[Path], remarks: Remarks) -> dict[str, Path]:
    """Files by their path in the folder without suffix, sorted; of two with one name, the second goes to `doubles`."""
    found: dict[str, Path] = {}
    for file in find_images(folder, remarks):
        if not wanted(file):
            remarks.pass_over(file)
            continue
        name = composed(str(file.relative_to(folder).with_suffix("")))
        if name in found:
            doubles += [found[name], file]
        else:
            found[name] = file
    return found


def _without_endings(
    seen: dict[str, Path], labelled: dict[str, Path], folder: Path, remarks: Remarks
) -> tuple[dict[str, Path], dict[str, Path]]:
    """Both by such names that most of them agree, or as they are."""
    of_labels, of_pictures = _ending([*labelled], _OF_LABELS), _ending([*seen], _OF_PICTURES)
    for one, other in (("", of_labels), (of_pictures, of_labels), (of_pictures, "")):
        shorter = _shortened(seen, one), _shortened(labelled, other)
        if shorter[0].keys() & shorter[1].keys():
            endings = " and ".join(f"{ending!r}" for ending in (one, other) if ending)
            remarks.notes.append(f"{folder}: names are compared without {endings}, with which all of them end")
            return shorter
    return seen, labelled


def _ending(names: Sequence[str], words: str) -> str:
    """What all names end with, if it is made of the words."""
    for start in re.finditer(r"[_\-. ]+", names[0] if names else ""):
        ending = names[0][start.start() :]
        made_of = re.fullmatch(rf"(?:[_\-. ]+{words})+", ending, re.IGNORECASE)
        if made_of and all(name.endswith(ending) for name in names):
            return ending
    return ""


def _shortened(files: dict[str, Path], ending: str) -> dict[str, Path]:
    return {name.removesuffix(ending): file for name, file in files.items()}


def _listed(files: Sequence[Path]) -> str:
    return listed(files, show=lambda file: harmless(file.name, keep=""))
