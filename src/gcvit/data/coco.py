"""COCO's annotation files as a few arrays, and what was wrong in them: half a gigabyte of JSON takes 300 MB."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gcvit.data import masks as mask
from gcvit.data.images import MAX_PIXELS
from gcvit.data.json_lists import ANNOTATIONS, ELEMENTS, LISTS, OBJECTS, NoObject, looks_like, read_lists
from gcvit.data.objects import Objects
from gcvit.errors import UserError, shown
from gcvit.wording import composed, harmless, is_harmless, listed

# What is wrong with an annotation; but for the last five, it is passed over.
NO_OBJECT = "annotation that is no JSON object"
UNKNOWN_IMAGE = "annotation of a picture that is not listed"
UNKNOWN_CATEGORY = "annotation of a category that is not listed"
NO_BOX = "annotation without a box"
NEGATIVE = "box of negative size"
BAD_MASK = "mask that cannot be read"
MASK_SIZE = "mask of another size than its picture"
NO_AREA = "annotation without area"
SAME_ID = "id that two annotations have"
TEXT_ID = "id that is a text and no number"

CROWD, IGNORED = 1, 2  # flags

LARGEST = 10_000_000  # pixels; no coordinate of a box is farther from the picture's corner
_NUMBERS = (int, float)
_EXAMPLES = 1000  # of a kind of fault that are kept
Id = int | str


class Problems:
    """What is wrong in a file, by kind. counts: how often. examples: where, the first thousand."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.examples: dict[str, list[str]] = {}

    def add(self, kind: str, ident: Any, why: object = "") -> None:
        """ident: of the annotation, whatever stands there."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        examples = self.examples.setdefault(kind, [])
        if len(examples) < _EXAMPLES:
            examples.append(f"annotation {brief(ident)}" + (f": {why}" if why else ""))


@dataclass(frozen=True)
class Category:
    """A class as a file has it. ids: those of its name, the one with most objects first."""

    name: str
    ids: tuple[Id, ...]


@dataclass(frozen=True, eq=False)
class CocoFile:
    """An annotation file, packed. Its arrays are torch's, which loader processes share however they are started.

    path: of the file. categories: by label, sorted by id where all ids are numbers. image_ids, names: of each picture,
    in the file's order. sizes: int32 (pictures, 2), height and width, 0 where the file does not say. offsets: int64
    (pictures + 1); picture i has the objects offsets[i] to offsets[i + 1]. boxes: float64 (objects, 4), left, top,
    width, height. areas: float64, NaN where the file does not say. labels: int32. flags: uint8, CROWD and IGNORED.
    kinds, starts, lengths, content: the packed masks. problems: what was passed over.
    """

    path: Path
    categories: list[Category]
    image_ids: Tensor | list[Id]
    names: Sequence[str]
    sizes: Tensor
    offsets: Tensor
    boxes: Tensor
    areas: Tensor
    labels: Tensor
    flags: Tensor
    kinds: Tensor
    starts: Tensor
    lengths: Tensor
    content: Tensor
    problems: Problems

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def class_names(self) -> list[str]:
        """The names of the classes, by label."""
        return [category.name for category in self.categories]

    @property
    def has_masks(self) -> bool:
        """Whether any object has a mask."""
        return bool(self.kinds.any())

    def without_masks(self) -> "CocoFile":
        """The same boxes, of objects with masks and without."""
        return replace(self, kinds=torch.full_like(self.kinds, mask.NONE))

    def without_mask(self) -> int:
        """In a file with masks, how many single objects have none; else 0."""
        return int(((self.kinds == mask.NONE) & (self.flags == 0)).sum()) if self.has_masks else 0

    def image_id(self, row: int) -> Id:
        """The id of a picture, as the file has it."""
        found = self.image_ids[row]
        return int(found) if isinstance(found, Tensor) else found

    def rows(self) -> np.ndarray:
        """Of each object, the row of its picture."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets.numpy()))

    def counts(self) -> list[int]:
        """Objects of each class, crowds included."""
        return torch.bincount(self.labels, minlength=len(self.categories)).tolist()

    def trained_on(self) -> np.ndarray:
        """Which objects can be learnt from, bool: single ones that are not to be ignored, with an area, at least a
        pixel wide and high, in part inside the picture and, where the data have masks, with one."""
        boxes, areas = self.boxes.numpy(), self.areas.numpy()
        height, width = self.sizes.numpy()[self.rows()].T
        left, top, across, down = boxes.T
        known = height > 0
        within = (left + across > 0) & (top + down > 0) & ((left < width) & (top < height) | ~known)
        fit = (self.flags.numpy() == 0) & ~(areas <= 0) & (across >= 1) & (down >= 1) & within
        return fit & (self.kinds.numpy() != mask.NONE) if self.has_masks else fit

    def objects(self, row: int, size: tuple[int, int], which: np.ndarray | None = None) -> Objects:
        """The objects of a picture of this size, (height, width); which: a bool for each object of the file, True for
        those that are wanted.

        An object without a mask that can be read, in a file with masks, is a crowd as large as its box: what is found
        there is neither right nor wrong.
        """
        start, end = self.offsets[row : row + 2].tolist()
        wanted = np.arange(start, end) if which is None else start + np.flatnonzero(which[start:end])
        boxes = self.boxes.numpy()[wanted]
        areas, crowd = self.areas.numpy()[wanted], (self.flags.numpy()[wanted] & CROWD) > 0
        masks = None
        if self.has_masks:
            packed = [self.packed_mask(number) for number in wanted.tolist()]
            unknown = np.array([one.kind == mask.NONE for one in packed], bool)
            masks = tuple(
                mask.rectangle(box, size) if one.kind == mask.NONE else mask.unpack(one, size)
                for one, box in zip(packed, boxes, strict=True)
            )
            crowd = crowd | unknown
        if (missing := np.isnan(areas)).any():
            areas = areas.copy()
            areas[missing] = (boxes[:, 2] * boxes[:, 3] if masks is None else mask.areas(masks, size))[missing]
        return Objects(size, boxes, self.labels.numpy()[wanted].astype(np.int64), crowd, areas, masks)

    def packed_mask(self, number: int) -> mask.Packed:
        """The mask of an object, as it is kept."""
        start = int(self.starts[number])
        content = self.content.numpy()[start : start + int(self.lengths[number])].tobytes()
        return mask.Packed(int(self.kinds[number]), content)


def brief(found: Any) -> str:
    """Anything from a file, as a message shows it."""
    return harmless(shown(found), keep="")


def remarks_on(problems: Problems, path: Path) -> list[str]:
    """Sentences on what was passed over in a file."""
    return [
        f"{path}: {number:,} × {kind}, such as {problems.examples[kind][0]}"
        for kind, number in problems.counts.items()
        if kind not in (SAME_ID, TEXT_ID)
    ]


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


_EXPECTED = f"COCO's annotation files have lists of {', '.join(LISTS)}"


def _what_it_is(keys: set[str]) -> str:
    """What a file without pictures or categories looks like."""
    if kind := looks_like(OBJECTS, keys):
        return f"it looks like {kind}"
    return f"{_EXPECTED}; this one has {listed(sorted(keys.difference(LISTS)), show=lambda key: brief(key))}"
