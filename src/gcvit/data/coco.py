"""COCO's annotation files as a few arrays, and what was wrong in them: half a gigabyte of JSON takes 300 MB."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gcvit.data import masks as mask
from gcvit.data.objects import Objects
from gcvit.errors import shown
from gcvit.wording import harmless

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
