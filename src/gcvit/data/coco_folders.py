"""Where annotation files and their pictures lie: COCO's own folders, one folder for each part, or one file for all."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from gcvit.data.coco_reading import file_looks_like
from gcvit.data.folders import DiskFolder
from gcvit.data.images import find_images
from gcvit.data.parts import Parts
from gcvit.data.remarks import Remarks, is_seen
from gcvit.data.split_names import WHOLE, is_held_out, split_name, splits_among
from gcvit.errors import UserError
from gcvit.wording import composed, harmless, listed

ANNOTATIONS = ("annotations", "annotation", "labels")  # folders of annotation files beside the pictures
PICTURES = "images"
INDEX = ".index.json"  # of a tar archive

# Files of COCO's that hold no boxes, and files that models write.
_NO_BOXES = re.compile(r"(captions|person_keypoints|keypoints|panoptic|stuff|image_info|results?)[_.]|.*results$", re.I)
_USUAL = re.compile(r"_?annotations|instances|.*coco", re.I)

# How other tools' annotations are told, by a name in the folder.
_YOLO = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "labels/*.txt", "labels/*/*.txt", "*/labels/*.txt")
_OTHERS = {
    **dict.fromkeys(_YOLO, "YOLO's"),
    **dict.fromkeys(("*.xml", "*/*.xml"), "Pascal VOC's"),
    "*.csv": "a table, such as Open Images'",
    "*.tfrecord": "TensorFlow's",
}


@dataclass(frozen=True)
class Layout(Parts[Path]):
    """A set; its parts are annotation files. root: the folder that everything lies in. remarks: files not used."""

    root: Path
    remarks: Remarks = field(default_factory=Remarks)


def find_coco(root: str | Path) -> Layout:
    """The annotation files of a set: ROOT itself, if it is one; those of the folders train, val … in ROOT; or those in
    ROOT/annotations or ROOT, told apart by their names (instances_train2017.json), or one that is to be divided.

    Raises UserError for none, saying what else the folder looks like, and for several of which it is unknown which one
    is meant.
    """
    root = Path(root)
    if root.is_file():
        above = root.absolute().parent
        return Layout({WHOLE: root}, above.parent if above.name.lower() in ANNOTATIONS else above)
    if not root.is_dir():
        raise UserError(f"{root}: no such file or folder")
    remarks = Remarks()
    files = _in_parts(root, remarks) or _beside(root, remarks)
    if not files:
        raise UserError(f"{root}: no annotation file (.json) in it, in {ANNOTATIONS[0]}/, train/ or val/{_other(root)}")
    trained = [name for name in files if not is_held_out(name)]
    if len(trained) > 1:
        names = listed([str(files[name]) for name in trained])
        raise UserError(f"{root}: {names} all look like what to train on; keep one of them, or name it as --data")
    return Layout(files, root, remarks)


def _in_parts(root: Path, remarks: Remarks) -> dict[str, Path]:
    """The annotation file of each folder that has a part's name."""
    for place in (root, root / PICTURES):
        folders = DiskFolder(place).folders() if place.is_dir() else []
        files = {}
        for name in splits_among([folder.name for folder in folders]):
            inside = [place / name, *(place / name / one for one in ANNOTATIONS)]
            found = [file for folder in inside for file in _json_files(folder)]
            if chosen := _chosen(found, place / name):
                files[name] = chosen
                _not_used(remarks, found, [chosen])
        if files:
            return files
    return {}


def _beside(root: Path, remarks: Remarks) -> dict[str, Path]:
    """Annotation files beside the folders of pictures, by their names."""
    for place in (*(root / one for one in ANNOTATIONS), root):
        found = _json_files(place)
        boxed = [file for file in found if not _NO_BOXES.match(file.stem)] or found
        by_name = {file.stem: file for file in boxed}
        usual = {name: file for name, file in by_name.items() if _USUAL.match(name)}
        for names in (usual, by_name):
            if parts := splits_among(names):
                _not_used(remarks, found, [names[name] for name in parts])
                return {name: names[name] for name in parts}
        if chosen := _chosen(boxed, place):
            _not_used(remarks, found, [chosen])
            return {WHOLE: chosen}
    return {}


def _chosen(files: Sequence[Path], place: Path) -> Path | None:
    """The one annotation file of several. Raises UserError where none is more likely than the others."""
    usual = [file for file in files if _USUAL.match(file.stem) and not _NO_BOXES.match(file.stem)]
    if not files:
        return None
    if len(files) == 1 or len(usual) == 1:
        return (usual or files)[0]
    if kind := file_looks_like(files[0]):
        raise UserError(f"{files[0]}: it looks like {kind}")
    names = listed([file.name for file in files])
    raise UserError(f"{place}: several annotation files, {names}; keep one, or call them train.json and val.json")


def _json_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        file
        for file in folder.glob("*.json")
        if file.is_file() and is_seen(file.name) and not file.name.endswith(INDEX)
    )


def _not_used(remarks: Remarks, found: Iterable[Path], used: Sequence[Path]) -> None:
    if others := [harmless(str(file), keep="") for file in found if file not in used]:
        remarks.notes.append(f"annotation files that are not read: {listed(others)}")


def _other(root: Path) -> str:
    for pattern, tool in _OTHERS.items():
        if next(root.glob(pattern), None) is not None:
            return f"; {pattern} looks like {tool}: convert it to COCO's format first"
    return ""


class PictureFiles:
    """The pictures below a folder, found by the names that annotation files have for them."""

    def __init__(self, root: Path, remarks: Remarks) -> None:
        self.root = root
        self._by_name: dict[str, list[str]] = {}
        start = len(str(root)) + 1
        passed = Remarks()
        files = find_images(root, passed)
        passed.passed_over.pop(".json", None)  # annotations, which are accounted for
        remarks.add(passed)
        for file in files:
            path = str(file)[start:]
            self._by_name.setdefault(composed(path.rpartition("/")[2]), []).append(path)
        self._sides: dict[str, bool | None] = {}

    def find(self, name: str, part: str, beside: Path) -> Path | None:
        """The file of a picture; None where there is none.

        name: in the annotation file, perhaps with folders, and those of another computer. part: of the set, whose
        pictures do not lie in a folder of the other side. beside: the annotation file.
        """
        for spelt in dict.fromkeys((name, name.replace("\\", "/"))):
            if "\0" not in name and (found := self._find(composed(spelt), part, beside)):
                return found
        return None

    def _find(self, name: str, part: str, beside: Path) -> Path | None:
        parts = tuple(one for one in PurePosixPath(name).parts if one != ".")
        if not parts:
            return None
        foreign = name.startswith("/") or ".." in parts or ":" in parts[0]
        fitting = [path for path in self._by_name.get(parts[-1], []) if self._same_side(path, part)]
        agreeing = [path for path in fitting if _one_ends_other(composed(path).split("/"), parts)]
        if not agreeing and foreign and len(fitting) == 1:
            agreeing = fitting
        if agreeing:
            own = os.path.join(str(beside.parent)[len(str(self.root)) + 1 :], *parts)
            return self.root / min(agreeing, key=lambda path: (path != own, path.count("/"), path))
        if not foreign and os.path.isfile(beside.parent / name):  # a picture's name need not end as one
            return beside.parent / name
        return None

    def _same_side(self, path: str, part: str) -> bool:
        folder = path.rpartition("/")[0]
        if folder not in self._sides:
            said = [split_name(one) for one in folder.split("/")]
            sides = [one.role != "train" for one in said if one]
            self._sides[folder] = sides[-1] if sides else None
        return part == WHOLE or self._sides[folder] in (None, is_held_out(part))


def _one_ends_other(one: Sequence[str], other: Sequence[str]) -> bool:
    shorter = min(len(one), len(other))
    return list(one[-shorter:]) == list(other[-shorter:])
