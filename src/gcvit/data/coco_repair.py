"""A repaired copy of an annotation file, with every change told."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from gcvit.data import masks as mask
from gcvit.data.coco import brief
from gcvit.data.coco_checks import look_like_corners, near_repeats
from gcvit.data.coco_folders import PictureFiles, find_coco
from gcvit.data.coco_reading import LISTS, box_of, entry, file_name_of, is_size, key_of, read_coco, size_of
from gcvit.data.images import ImageError, head_of
from gcvit.data.json_lists import reading
from gcvit.data.remarks import Remarks
from gcvit.data.split_names import WHOLE, split_name
from gcvit.errors import UserError
from gcvit.files import write_atomically
from gcvit.wording import harmless

Entry = dict[str, Any]


def repair(path: Path, out: Path) -> list[str]:
    """Write a repaired copy of the annotation file `path` to `out`, and list every change; the file itself stays.

    Ids become different whole numbers; categories of one name become one; sizes that are missing or exchanged come from
    the pictures, and pictures that are not there are taken out; boxes of corners become boxes of sizes, negative ones
    are turned round, those that reach out are cut, and those that are missing come from the masks; annotations of
    nothing, of no known picture or class, and those that repeat another are taken out; masks that cannot be read are
    emptied; areas that are missing are computed. Whatever else stands in the file is kept.

    Raises UserError for a file that is none of COCO's, and where `out` is the file itself.
    """
    if out.exists() and out.samefile(path):
        raise UserError(f"{out} is the file itself; give the repaired copy another name")
    content = _content(path)
    changes = [*_Repair(path, content).steps()]
    write_atomically(out, json.dumps(content).encode())
    if changes:
        read_coco(out)
    return [harmless(change, keep="") for change in changes]


def _content(path: Path) -> Entry:
    with reading(path):
        found = json.loads(path.read_text("utf-8-sig"))
    if not all(isinstance(entry(found, name), list) for name in LISTS):
        raise UserError(f"{path}: it has no lists of images, annotations and categories, so there is nothing to repair")
    return found


class _Repair:
    """Changes the content in its place, step by step."""

    def __init__(self, path: Path, content: Entry) -> None:
        self.path, self.content = path, content
        self.images: dict[str, Entry] = {}  # by what annotations call them
        self.classes: dict[str, int] = {}  # by what annotations call them, their new ids

    def steps(self) -> Iterator[str]:
        yield from self._pictures()
        yield from self._sizes()
        yield from self._categories()
        yield from self._references()
        yield from self._masks()
        yield from self._boxes()
        yield from self._repeats()
        yield from self._areas()
        yield from self._numbers("annotations", "annotation")

    def _pictures(self) -> Iterator[str]:
        kept: list[Entry] = []
        for found in self.content["images"]:
            key, name = key_of(entry(found, "id")), file_name_of(found)
            if key is None or name is None:
                yield f"picture {brief(found)}: taken out, it has no {'id' if name else 'file_name'}"
                continue
            first = self.images.setdefault(key, found)
            if first is not found and file_name_of(first) == name:
                yield f"picture {name}: listed twice, once now"
                continue
            if first is not found:
                yield f"picture {name}: its id {key} is that of {file_name_of(first)}, which keeps the annotations"
                found["id"] = None
            kept.append(found)
        self.content["images"] = kept
        yield from self._numbers("images", "picture")

    def _numbers(self, kind: str, what: str) -> Iterator[str]:
        """Make all ids different whole numbers; annotations' from 1 on, since 0 is never matched by pycocotools."""
        least = 1 if kind == "annotations" else -(2**62)
        taken: set[int] = set()
        waiting = []
        for found in self.content[kind]:
            key = key_of(found.get("id"))
            number = _whole(key)
            if number is None or number < least or number in taken:
                waiting.append(found)
                continue
            taken.add(number)
            if type(found["id"]) is not int:
                yield f"{what} {brief(found['id'])}: its id is now the number {number}"
                found["id"] = number
        fresh = max(taken, default=0)
        for found in waiting:
            fresh = max(fresh, 0) + 1
            yield f"{what} {brief(found.get('id'))}: its id is now {fresh}"
            found["id"] = fresh

    def _sizes(self) -> Iterator[str]:
        """Take out pictures that are not there, if any are; and find sizes."""
        layout = find_coco(self.path)
        name = split_name(self.path.parent.name) or split_name(self.path.stem)
        part = name.word if name else WHOLE
        root = layout.root.parent if split_name(layout.root.name) else layout.root
        files = PictureFiles(root, Remarks())
        places = [files.find(file_name_of(found) or "", part, self.path.absolute()) for found in self.content["images"]]
        some = any(place is not None for place in places)
        kept = []
        for found, place in zip(self.content["images"], places, strict=True):
            if place is None and some:
                yield f"picture {file_name_of(found)}: taken out, it is not there"
                self.images = {key: one for key, one in self.images.items() if one is not found}
                continue
            kept.append(found)
            told = (found.get("height"), found.get("width"))
            head = None
            with suppress(ImageError):
                head = head_of(place) if place is not None else None
            exchanged = head and told == head.upright[::-1] and told not in (head.upright, head.stored)
            if head and (exchanged or not is_size(told)):
                size = found["height"], found["width"] = head.upright
                said = f"{brief(told[1])}×{brief(told[0])}"
                yield f"picture {file_name_of(found)}: it is {size[1]}×{size[0]} px and not {said}"
        self.content["images"] = kept

    def _categories(self) -> Iterator[str]:
        kept: list[Entry] = []
        by_name: dict[str, Entry] = {}
        keys: list[tuple[str, Entry]] = []
        for found in self.content["categories"]:
            name, key = entry(found, "name"), key_of(entry(found, "id"))
            if not isinstance(name, str) or not name.strip() or key is None:
                yield f"category {brief(found)}: taken out, it has no {'id' if key is None else 'name'}"
                continue
            if name != name.strip():
                yield f"category {name!r}: its name is now {name.strip()!r}"
                found["name"] = name.strip()
            first = by_name.setdefault(found["name"], found)
            if first is not found:
                yield f"category {name!r}: listed twice, with the ids {brief(first['id'])} and {key}, once now"
            else:
                kept.append(found)
            keys.append((key, first))
        self.content["categories"] = kept
        yield from self._numbers("categories", "category")
        for key, found in keys:
            self.classes.setdefault(key, found["id"])

    def _references(self) -> Iterator[str]:
        """Annotations of known pictures and classes, by their new ids."""
        kept = []
        for found in self.content["annotations"]:
            image = self.images.get(key_of(entry(found, "image_id")) or "")
            label = self.classes.get(key_of(entry(found, "category_id")) or "")
            if image is None or label is None:
                what = "picture" if image is None else "category"
                yield f"{_named(found)}: taken out, its {what} is not listed"
                continue
            for field, ident in (("image_id", image["id"]), ("category_id", label)):
                if found[field] != ident or type(found[field]) is not int:
                    yield f"{_named(found)}: its {field} is now {ident} and not {brief(found[field])}"
                    found[field] = ident
            kept.append(found)
        self.content["annotations"] = kept

    def _masks(self) -> Iterator[str]:
        sizes = self._by_id()
        for found in self.content["annotations"]:
            try:
                packed, why = mask.pack(found.get("segmentation")), ""
            except mask.MaskError as error:
                packed, why = mask.Packed(mask.NONE, b""), str(error)
            size = sizes[found["image_id"]]
            if packed.kind == mask.COUNTS and size[0] and packed.size != size:
                why = f"it is {packed.size[1]}×{packed.size[0]} px, its picture {size[1]}×{size[0]}"
            if why:
                yield f"{_named(found)}: its mask is taken out: {why}"
                found["segmentation"] = []

    def _boxes(self) -> Iterator[str]:
        sizes = self._by_id()
        found = self.content["annotations"]
        known = [one for one in found if box_of(one)]
        boxes = np.array([box_of(one) for one in known], float).reshape(-1, 4)
        corners = look_like_corners(boxes, np.array([sizes[one["image_id"]] for one in known]).reshape(-1, 2))
        kept = []
        for one in found:
            box = box_of(one)
            new, why = list(box or ()), "it was missing, and is that of the mask"
            if box is None:
                packed = mask.pack(one.get("segmentation"))
                new = list(mask.corners(packed)) if packed.kind != mask.NONE else []
            elif corners:
                new, why = [box[0], box[1], box[2] - box[0], box[3] - box[1]], "it was corners"
            if not new:
                yield f"{_named(one)}: taken out, it has neither box nor mask"
                continue
            for axis in (0, 1):
                if new[2 + axis] < 0:
                    new[axis], new[2 + axis], why = new[axis] + new[2 + axis], -new[2 + axis], "it was of negative size"
            new, cut = _cut(new, sizes[one["image_id"]])
            if min(new[2:]) <= 0:
                yield f"{_named(one)}: taken out, its box {brief(one.get('bbox'))} is empty or outside the picture"
                continue
            if new != list(box or ()):
                yield f"{_named(one)}: its box is now {new} and not {brief(one.get('bbox'))}: {cut or why}"
                one["bbox"] = new
            kept.append(one)
        self.content["annotations"] = kept

    def _repeats(self) -> Iterator[str]:
        by_image: dict[int, list[Entry]] = {}
        for found in self.content["annotations"]:
            by_image.setdefault(found["image_id"], []).append(found)
        out: set[int] = set()
        for ones in by_image.values():
            boxes = np.array([one["bbox"] for one in ones], float)
            for first, other in near_repeats(boxes, np.array([one["category_id"] for one in ones])):
                yield f"{_named(ones[other])}: taken out, it repeats {_named(ones[first])}"
                out.add(id(ones[other]))
        self.content["annotations"] = [found for found in self.content["annotations"] if id(found) not in out]

    def _areas(self) -> Iterator[str]:
        sizes = self._by_id()
        for found in self.content["annotations"]:
            area = found.get("area")
            if type(area) in (int, float) and 0 < area < 1e15:
                continue
            packed, size = mask.pack(found.get("segmentation")), sizes[found["image_id"]]
            whole = found["bbox"][2] * found["bbox"][3]
            if packed.kind != mask.NONE and size[0]:
                whole = float(mask.areas([mask.unpack(packed, size)], size)[0]) or whole
            found["area"] = whole
            yield f"{_named(found)}: its area is now {found['area']:g} and not {brief(area)}"

    def _by_id(self) -> dict[int, tuple[int, int]]:
        """Height and width of the pictures; zeros where they are unknown."""
        return {found["id"]: size_of(found) for found in self.content["images"]}


def _cut(box: list[float], size: tuple[int, int]) -> tuple[list[float], str]:
    """The part of a box inside its picture, and why it is another one; less than a hundredth of a pixel is let be."""
    height, width = size
    right, below = box[0] + box[2], box[1] + box[3]
    if not height or (min(box[:2]) >= -0.01 and right <= width + 0.01 and below <= height + 0.01):
        return box, ""
    left, top = max(box[0], 0), max(box[1], 0)
    return [left, top, min(right, width) - left, min(below, height) - top], f"it reached out of {width}×{height} px"


def _whole(key: str | None) -> int | None:
    try:
        return int(key) if key is not None and len(key) < 18 else None
    except ValueError:
        return None


def _named(found: Any) -> str:
    return f"annotation {brief(found.get('id') if isinstance(found, dict) else found)}"
