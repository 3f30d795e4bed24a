"""COCO's annotation files, read; and what other files are that hold annotations, and what to do with them."""

from array import array
from collections.abc import Iterable, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gcvit.data import masks as mask
from gcvit.data.coco import (
    BAD_MASK,
    CROWD,
    IGNORED,
    MASK_SIZE,
    NEGATIVE,
    NO_AREA,
    NO_BOX,
    NO_OBJECT,
    SAME_ID,
    TEXT_ID,
    UNKNOWN_CATEGORY,
    UNKNOWN_IMAGE,
    Category,
    CocoFile,
    Id,
    Problems,
    brief,
)
from gcvit.data.images import MAX_PIXELS
from gcvit.data.json_lists import NoObject, read_lists
from gcvit.errors import UserError
from gcvit.wording import composed, harmless, is_harmless, listed

LARGEST = 10_000_000  # pixels; no coordinate of a box is farther from the picture's corner
_NUMBERS = (int, float)

Kinds = Mapping[tuple[str, ...], str]
LISTS = ("images", "annotations", "categories")  # of COCO's annotation files

_CONVERT = "convert it to COCO's format first"
ELEMENTS: Kinds = {  # by keys of the first element of a list
    ("image_id", "score"): "COCO's results, what a model has found; give the annotations that they are measured by",
    ("image_id", "caption"): "captions; give COCO's annotations of objects (instances_….json)",
    ("image", "annotations"): f"CreateML's; {_CONVERT}",
    ("data", "annotations"): "Label Studio's; export it as COCO",
    ("data", "completions"): "Label Studio's; export it as COCO",
    ("name", "labels"): f"BDD100K's; {_CONVERT}",
}
OBJECTS: Kinds = {  # by keys of the object
    ("shapes",): f"a labelme file, one for each picture; {_CONVERT}",
    ("_via_img_metadata",): "a VIA project; export its annotations as COCO",
    ("labels",): f"YOLO's or Label Studio's; {_CONVERT}",
    ("frames",): f"a file of videos; {_CONVERT}",
}
ANNOTATIONS: Kinds = {  # by keys of the first annotation
    ("caption",): "captions; give the annotations of objects (instances_….json)",
    ("segments_info",): "panoptic segments, whose masks lie in PNG files; panopticapi converts them to annotations of "
    "objects (panoptic2detection_coco_format.py)",
    ("keypoints",): "keypoints without boxes; detection learns from annotations that have a bbox",
}

_EXPECTED = f"COCO's annotation files have lists of {', '.join(LISTS)}"


def read_coco(path: Path) -> CocoFile:
    """Read an annotation file.

    Annotations that cannot be used are passed over and counted in `problems`. Ids of any kind are taken: 17, 17.0 and
    "17" are one. Several categories of one name are one class.

    Raises UserError, naming the file, for what is no such file, saying what it looks like, for pictures without name or
    id, for two pictures of one id, and for classes without a name or an id.
    """
    reading = _Reading(path)
    try:
        for key, value in read_lists(path):
            reading.take(key, value)
    except NoObject as error:
        kind = looks_like(ELEMENTS, error.first if isinstance(error.first, dict) else ())
        raise UserError(f"{error}; it looks like {kind}" if kind else f"{error}; {_EXPECTED}") from error
    return reading.packed()


class _Reading:
    """What has been read of a file so far."""

    def __init__(self, path: Path) -> None:
        self.path, self.problems, self.keys = path, Problems(), set[str]()
        self.pictures: dict[str, int] = {}  # a number for each id, of annotations too
        self.classes: dict[str, int] = {}
        self.rows: dict[str, int] = {}
        self.image_ids: list[Id] = []
        self.names: list[str] = []
        self.sizes = array("i")
        self.categories: dict[str, tuple[Id, str]] = {}
        self.of_image, self.of_category, self.ids = array("i"), array("i"), array("q")
        self.boxes, self.areas, self.flags = array("d"), array("d"), array("B")
        self.kinds, self.starts, self.lengths, self.content = array("B"), array("q"), array("i"), bytearray()
        self.mask_sizes = array("i")
        self.first: dict[str, Any] = {}  # annotation

    def take(self, key: str, value: Any) -> None:
        self.keys.add(key)
        if key == "annotations":
            self.annotation(value)
        elif key == "images":
            self.image(value)
        elif key == "categories":
            self.category(value)

    def image(self, found: Any) -> None:
        name, key = file_name_of(found), key_of(entry(found, "id"))
        if name is None or key is None:
            raise UserError(f"{self.path}: a picture without {'id' if name else 'file_name'}: {brief(found)}")
        if (row := self.rows.get(key)) is not None:
            if self.names[row] != name:
                two = " and ".join(harmless(repr(one), keep="") for one in (self.names[row], name))
                raise UserError(
                    f"{self.path}: the pictures {two} have one id, {brief(found['id'])}, so it is unknown whose the "
                    "annotations are; give them different ids"
                )
            return
        if isinstance(found["id"], str):
            self.problems.add(TEXT_ID, found["id"], "of a picture")
        self.rows[key] = len(self.names)
        self.image_ids.append(_id(found["id"]))
        self.names.append(name)
        self.sizes.extend(size_of(found))

    def category(self, found: Any) -> None:
        key, name = key_of(entry(found, "id")), entry(found, "name")
        if key is None or not isinstance(name, str) or not name.strip() or not is_harmless(name):
            raise UserError(f"{self.path}: a category without an id and a name of plain letters: {brief(found)}")
        one = (_id(found["id"]), composed(name.strip()))
        if self.categories.setdefault(key, one)[1] != one[1]:
            names = f"{self.categories[key][1]!r} and {name!r}"
            raise UserError(f"{self.path}: the categories {names} have one id, {one[0]!r}; give them different ids")

    def annotation(self, found: Any) -> None:
        problems = self.problems
        if not isinstance(found, dict):
            problems.add(NO_OBJECT, found)
            return
        self.first = self.first or found
        ident = found.get("id")
        if type(ident) is str:
            problems.add(TEXT_ID, ident)
        image, category = key_of(found.get("image_id")), key_of(found.get("category_id"))
        if category is None:
            problems.add(UNKNOWN_CATEGORY, ident)
            return
        if image is None:
            problems.add(UNKNOWN_IMAGE, ident)
            return
        try:
            packed = mask.pack(found.get("segmentation"))
        except mask.MaskError as error:
            problems.add(BAD_MASK, ident, error)
            packed = mask.Packed(mask.NONE, b"")
        box = box_of(found)
        if box is None:
            if packed.kind == mask.NONE:
                problems.add(NO_BOX, ident)
                return
            box = mask.corners(packed)
        if box[2] < 0 or box[3] < 0:
            problems.add(NEGATIVE, ident)
            return
        area: Any = found.get("area")
        if type(area) not in _NUMBERS or not -1e15 < area < 1e15:
            problems.add(NO_AREA, ident)
            area = float("nan")
        self.of_image.append(self.pictures.setdefault(image, len(self.pictures)))
        self.of_category.append(self.classes.setdefault(category, len(self.classes)))
        self.ids.append(ident if type(ident) is int and 0 <= ident < 2**63 else -1)
        self.boxes.extend(box)
        self.areas.append(area)
        crowd, ignored = found.get("iscrowd"), found.get("ignore")
        self.flags.append(CROWD * (crowd in (1, "1")) + IGNORED * (ignored in (1, "1")))
        self.kinds.append(packed.kind)
        self.starts.append(len(self.content))
        self.lengths.append(len(packed.content))
        self.mask_sizes.extend(packed.size)
        self.content += packed.content

    def packed(self) -> CocoFile:
        if not self.of_image and (kind := looks_like(ANNOTATIONS, self.first)):
            raise UserError(f"{self.path}: its annotations are {kind}")
        if not self.names:
            raise UserError(f"{self.path}: no pictures in it; {_what_it_is(self.keys)}")
        if not self.categories:
            raise UserError(f"{self.path}: no categories in it; {_what_it_is(self.keys)}")
        known = np.array([self.rows.get(key, -1) for key in self.pictures], np.int64)
        rows = known[_array(self.of_image, np.int32)]
        categories, labels = self._labels()
        for kind, missing in ((UNKNOWN_IMAGE, rows < 0), (UNKNOWN_CATEGORY, (labels < 0) & (rows >= 0))):
            for number in np.flatnonzero(missing).tolist():
                self.problems.add(kind, self.ids[number])
        ids = np.sort(_array(self.ids, np.int64))
        for twice in np.unique(ids[1:][(ids[1:] == ids[:-1]) & (ids[1:] >= 0)]).tolist():
            self.problems.add(SAME_ID, twice)
        order = np.argsort(rows, kind="stable")
        order = order[(rows[order] >= 0) & (labels[order] >= 0)]
        rows = rows[order]
        sizes = _array(self.sizes, np.int32).reshape(-1, 2)
        kinds, mask_sizes = _array(self.kinds, np.uint8)[order], _array(self.mask_sizes, np.int32).reshape(-1, 2)[order]
        other = (kinds == mask.COUNTS) & (mask_sizes != sizes[rows]).any(1) & (sizes[rows, 0] > 0)
        for number in np.flatnonzero(other).tolist():
            self.problems.add(MASK_SIZE, self.ids[order[number]])
        kinds[other] = mask.NONE
        numbered = all(type(one) is int and -(2**63) <= one < 2**63 for one in self.image_ids)
        return CocoFile(
            path=self.path,
            categories=categories,
            image_ids=torch.tensor(self.image_ids, dtype=torch.int64) if numbered else self.image_ids,
            names=self.names,
            sizes=torch.from_numpy(sizes),
            offsets=torch.from_numpy(np.searchsorted(rows, np.arange(len(sizes) + 1))),
            boxes=torch.from_numpy(_array(self.boxes, np.float64).reshape(-1, 4)[order]),
            areas=torch.from_numpy(_array(self.areas, np.float64)[order]),
            labels=torch.from_numpy(labels[order].astype(np.int32)),
            flags=torch.from_numpy(_array(self.flags, np.uint8)[order]),
            kinds=torch.from_numpy(kinds),
            starts=torch.from_numpy(_array(self.starts, np.int64)[order]),
            lengths=torch.from_numpy(_array(self.lengths, np.int32)[order]),
            content=torch.from_numpy(_array(self.content, np.uint8)),
            problems=self.problems,
        )

    def _labels(self) -> tuple[list[Category], np.ndarray]:
        """The classes, and the label of each annotation; -1 for an unknown category."""
        found = list(self.categories.items())
        if all(isinstance(ident, int) for _, (ident, _) in found):
            found.sort(key=lambda item: item[1][0])
        of_category = _array(self.of_category, np.int32)
        counts = dict(zip(self.classes, np.bincount(of_category, minlength=len(self.classes)).tolist(), strict=True))
        ids: dict[str, list[tuple[int, Id]]] = {}
        for key, (ident, name) in found:
            ids.setdefault(name, []).append((-counts.get(key, 0), ident))
        labels = {name: label for label, name in enumerate(ids)}
        of = {key: labels[name] for key, (_, name) in found}
        classes = [
            Category(name, tuple(ident for _, ident in sorted(of_name, key=lambda one: one[0])))
            for name, of_name in ids.items()
        ]
        return classes, np.array([of.get(key, -1) for key in self.classes], np.int64)[of_category]


def entry(found: Any, key: str) -> Any:
    """What a JSON object has under a key; None where it has no such key, and for anything else than an object."""
    return found.get(key) if isinstance(found, dict) else None


def size_of(found: dict[str, Any]) -> tuple[int, int]:
    """Height and width of a picture as its entry says; zeros where these cannot be."""
    told: Any = found.get("height"), found.get("width")
    return told if is_size(told) else (0, 0)


def box_of(annotation: dict[str, Any]) -> tuple[float, float, float, float] | None:
    """The box that an annotation has, (left, top, width, height), if it is four numbers that can be pixels."""
    box = annotation.get("bbox")
    if type(box) is list and len(box) == 4 and all(type(v) in _NUMBERS and -LARGEST < v < LARGEST for v in box):
        return box[0], box[1], box[2], box[3]
    return None


def is_size(told: tuple[Any, Any]) -> bool:
    """Whether height and width are those that a picture can have."""
    return all(type(side) is int and side > 0 for side in told) and told[0] * told[1] <= MAX_PIXELS


def key_of(ident: Any) -> str | None:
    """By which ids are compared: 17, 17.0 and "17" are one. None for what is no id."""
    if type(ident) is float and ident.is_integer():
        ident = int(ident)
    return str(_id(ident)) if isinstance(ident, int | str) and not isinstance(ident, bool) else None


def _id(ident: Any) -> Id:
    return int(ident) if isinstance(ident, float) else ident


def file_name_of(found: Any) -> str | None:
    """What a picture's file is called; LVIS has an address, whose last two parts are COCO's folder and name."""
    name, address = entry(found, "file_name"), entry(found, "coco_url")
    if isinstance(name, str) and name:
        return name
    return "/".join(address.split("/")[-2:]) if isinstance(address, str) and address else None


def _array(numbers: Any, kind: type) -> np.ndarray:
    return np.frombuffer(numbers, kind) if len(numbers) else np.zeros(0, kind)


def _what_it_is(keys: set[str]) -> str:
    """What a file without pictures or categories looks like."""
    if kind := looks_like(OBJECTS, keys):
        return f"it looks like {kind}"
    return f"{_EXPECTED}; this one has {listed(sorted(keys.difference(LISTS)), show=lambda key: brief(key))}"


def looks_like(kinds: Kinds, keys: Iterable[str]) -> str | None:
    """What a file is, by one of the tables ELEMENTS, OBJECTS and ANNOTATIONS; None for nothing known."""
    found = set(keys)
    return next((kind for some, kind in kinds.items() if found.issuperset(some)), None)


def file_looks_like(path: Path) -> str | None:
    """What a file is, by its keys up to those that COCO's have. Raises UserError for one that cannot be read."""
    return looks_like(OBJECTS, takewhile(lambda key: key not in LISTS, (key for key, _ in read_lists(path))))
