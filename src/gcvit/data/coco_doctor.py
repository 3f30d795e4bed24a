"""What is wrong with pictures and their boxes and masks, before hours of training find out."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from gcvit.data import doctor
from gcvit.data import masks as mask
from gcvit.data.coco import NO_AREA, CocoFile
from gcvit.data.coco_checks import CORNERS, look_like_corners, look_like_shares, near_repeats
from gcvit.data.coco_folders import Layout, PictureFiles, find_coco
from gcvit.data.coco_pictures import AS_USUAL, frame_of
from gcvit.data.coco_reading import read_coco
from gcvit.data.doctor import Finding, Health, Looked
from gcvit.data.pixels import SMALLEST
from gcvit.data.remarks import Remarks
from gcvit.data.settings import RGB8, CocoReading, PixelFormat
from gcvit.data.split_names import is_held_out
from gcvit.errors import UserError
from gcvit.wording import harmless, plural

UNREADABLE_FILE = "annotation file that cannot be read"
MISSING = "picture that is not there"
TWICE = "picture that is listed twice"
WRONG_SIZE = "picture of another size than the annotations say"
UNSAID = "picture without width and height"
AS_STORED = "annotations of the picture as it is stored, not turned by EXIF"
SHARES = "boxes in shares of the picture, not in pixels"
OUTSIDE = "box outside its picture"
BEYOND = "box that reaches out of its picture"
EMPTY = "empty box"
NO_FIT = "mask that does not fit its box"
NO_MASK = "object without a mask, while others have one"
NEAR_REPEAT = "object that is annotated twice"
CONTRADICTION = "one picture with different objects"

SLACK = 2  # pixels by which a box may reach out of its picture, and a mask out of its box
_FIVE = (0, 0.25, 0.5, 0.75, 1)


class _Part(NamedTuple):
    """A part of a set. places: of its pictures' files, by row; None for those that are not there."""

    name: str
    file: CocoFile
    places: list[Path | None]

    def named(self, objects: np.ndarray) -> list[str]:
        """The pictures of objects, one each, as a person calls them."""
        rows = self.file.rows()[objects].tolist()
        return list(dict.fromkeys(harmless(self.file.names[row], keep="") for row in rows))


Place = tuple[_Part, int, Path]  # a picture: its part, its row there, its file


@dataclass(frozen=True, kw_only=True)
class DetectionHealth(Health):
    """What `examine_coco` found.

    pictures: by part. objects: by part and class, crowds included. boxes: 5 quantiles of the boxes' "width" and
    "height" in pixels and of their "aspect", width by height. areas: objects by part that are "small", "medium" and
    "large" as COCO says. masks: whether objects have them.
    """

    pictures: dict[str, int]
    objects: dict[str, dict[str, int]]
    boxes: dict[str, list[float]]
    areas: dict[str, dict[str, int]]
    masks: bool

    @property
    def parts(self) -> dict[str, str]:
        said = {}
        for part, number in self.pictures.items():
            sizes = ", ".join(f"{number:,} {area}" for area, number in self.areas[part].items())
            total = sum(self.objects[part].values())
            said[part] = f"{plural(number, 'picture')}, {plural(total, 'object')} ({sizes})"
        return said

    def facts(self) -> list[tuple[str, str]]:
        """With the boxes' sizes and shapes."""
        said = []
        for name, (least, quarter, median, three_quarters, most) in self.boxes.items():
            spread = f"{least:.3g} to {most:.3g}, median {median:.3g}"
            said.append((f"box {name}", f"{spread}, half of them {quarter:.3g} to {three_quarters:.3g}"))
        return [*super().facts(), *said]

    def per_class(self) -> tuple[list[str], list[list[str]]]:
        return doctor.class_table(dict.fromkeys(chain(*self.objects.values())), self.objects, ("rarest", "commonest"))


def examine_coco(
    root: str | Path,
    reading: CocoReading = AS_USUAL,
    *,
    pixels: PixelFormat = RGB8,
    workers: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> DetectionHealth:
    """Read the annotations of a set and every picture of it.

    Args:
        root: a folder or an annotation file, see :func:`gcvit.data.coco_folders.find_coco`.
        reading: how annotations are read.
        pixels: of the pictures, as a model takes them.
        workers, progress: as in :func:`gcvit.data.doctor.look_through`.

    Raises UserError where there is no annotation file, or a worker was killed.
    """
    layout = find_coco(root)
    remarks = Remarks.joined(layout.remarks)
    pictures = PictureFiles(layout.root, remarks)
    parts, faults, notes = [], list[Finding](), list[Finding]()
    for name, path in layout.parts.items():
        try:
            file = read_coco(path)
        except UserError as error:
            faults.append(Finding(UNREADABLE_FILE, [str(path)], str(error).removeprefix(f"{path}: ")))
            continue
        parts.append(_Part(name, file, [pictures.find(one, name, path) for one in file.names]))
    places = [(part, row, place) for part in parts for row, place in enumerate(part.places) if place is not None]
    seen = doctor.look_through(
        [place for _, _, place in places], partial(doctor.look_at, pixels=pixels), workers, progress
    )
    looked = [Looked(part.name, str(place), one) for (part, _, place), one in zip(places, seen, strict=True)]
    objects = {part.name: dict(zip(part.file.class_names, part.file.counts(), strict=True)) for part in parts}
    wrong_sizes, notes_on_sizes = _about_sizes(places, looked, reading)
    faults += doctor.about_most_passed_over(remarks, len(looked))
    for part in parts:
        faults += [*_about_problems(part), *_about_missing(part), *_about_boxes(part), *_about_masks(part)]
        faults += _about_near_repeats(part)
        notes += _about_pictures(part)
    faults += [
        *doctor.about_unreadable(looked, "unreadable picture"),
        *wrong_sizes,
        *_about_classes(layout, parts, objects),
        *doctor.about_repeats(looked, CONTRADICTION, lambda number: _objects(*places[number][:2]), "objects"),
    ]
    notes += [*doctor.about_never(objects.values()), *notes_on_sizes]
    return DetectionHealth(
        root=str(root),
        masks=any(part.file.has_masks for part in parts if not is_held_out(part.name)),
        pictures={part.name: len(part.file) for part in parts},
        objects=objects,
        boxes=_box_statistics(parts),
        areas={part.name: _by_area(part.file) for part in parts},
        **doctor.in_common(looked, pixels, remarks, faults, notes),
    )


def _about_problems(part: _Part) -> Iterator[Finding]:
    for kind, number in part.file.problems.counts.items():
        if kind != NO_AREA:
            yield Finding(kind, part.file.problems.examples[kind], f"{number:,} in {part.file.path}")


def _about_missing(part: _Part) -> Iterator[Finding]:
    names = [harmless(name, keep="") for name in part.file.names]
    missing = [name for name, place in zip(names, part.places, strict=True) if place is None]
    if missing:
        yield Finding(MISSING, missing, f"{len(missing):,} of {len(part.places):,} in {part.file.path}")
    counts = Counter(place for place in part.places if place is not None)
    if twice := [str(place) for place, number in counts.items() if number > 1]:
        yield Finding(TWICE, twice, f"in {part.file.path}")


def _about_boxes(part: _Part) -> Iterator[Finding]:
    boxes, sizes = part.file.boxes.numpy(), part.file.sizes.numpy()[part.file.rows()]
    where = f"{{:,}} of {plural(len(boxes), 'box', 'es')} in {part.file.path}"
    if look_like_shares(boxes):
        yield Finding(SHARES, [str(part.file.path)])
        return
    if look_like_corners(boxes, sizes):
        yield Finding(CORNERS, [str(part.file.path)])
        return
    known = sizes[:, 0] > 0
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    empty = boxes[:, 2:].min(1) <= 0
    outside = ((high.min(1) <= 0) | (known & ((low - sizes[:, ::-1]).max(1) >= 0))) & ~empty
    over = np.maximum(-low, np.where(known[:, None], high - sizes[:, ::-1], 0)).max(1, initial=0)
    beyond = (over > SLACK) & ~outside & ~empty
    for kind, wrong in ((EMPTY, empty), (OUTSIDE, outside), (BEYOND, beyond)):
        if wrong.any():
            yield Finding(kind, part.named(wrong), where.format(int(wrong.sum())))


def _about_masks(part: _Part) -> Iterator[Finding]:
    """Where an edge of the box around the mask is not that of the box; a tenth of its side is let through."""
    file = part.file
    rows = file.rows()
    masked = np.flatnonzero(file.kinds.numpy() != mask.NONE)
    wrong = np.zeros(len(rows), bool)
    for number in masked.tolist():
        size = tuple(file.sizes[int(rows[number])].tolist())
        packed = file.packed_mask(number)
        if packed.kind == mask.COUNTS and not min(size):
            continue
        around, box = np.array(mask.corners(packed._replace(size=size))), file.boxes[number].numpy()
        around[2:] += around[:2]
        edges = np.concatenate([box[:2], box[:2] + box[2:]])
        allowed = np.maximum(SLACK, box[2:] / 10)
        wrong[number] = (np.abs(around - edges) > np.tile(allowed, 2)).any()
    if wrong.any():
        detail = f"{int(wrong.sum()):,} of {plural(len(masked), 'mask')} in {file.path}"
        yield Finding(NO_FIT, part.named(wrong), detail)


def _about_near_repeats(part: _Part) -> Iterator[Finding]:
    file, offsets = part.file, part.file.offsets.tolist()
    boxes, labels = file.boxes.numpy(), file.labels.numpy()
    twice = np.zeros(len(labels), bool)
    for start, end in pairwise(offsets):
        for _, other in near_repeats(boxes[start:end], labels[start:end]):
            twice[start + other] = True
    if twice.any():
        yield Finding(NEAR_REPEAT, part.named(twice), f"{int(twice.sum()):,} in {file.path}")


def _about_pictures(part: _Part) -> Iterator[Finding]:
    file = part.file
    names = np.array(file.names, object)
    sizes, number = file.sizes.numpy().min(1), np.diff(file.offsets.numpy())
    small = (sizes < SMALLEST) & (sizes > 0)
    if small.any():
        yield Finding("tiny picture", names[small].tolist(), f"a side below {SMALLEST} pixels: not trained on")
    if (number == 0).any():
        detail = f"{int((number == 0).sum()):,} of {len(number):,} in {file.path}: not trained on"
        yield Finding("picture without objects", names[number == 0].tolist(), detail)
    if without := file.without_mask():
        detail = f"{without:,} of {len(file.labels):,} in {file.path}: not trained on, but with --no-masks"
        yield Finding(NO_MASK, [], detail)
    if NO_AREA in file.problems.counts:
        detail = f"{file.problems.counts[NO_AREA]:,} in {file.path}: taken from the masks or boxes"
        yield Finding(NO_AREA, [], detail)


def _about_sizes(
    places: Sequence[Place], looked: Sequence[Looked], reading: CocoReading
) -> tuple[list[Finding], list[Finding]]:
    """Faults and notes on pictures of another size than their annotations say. Where those say none, it is set."""
    wrong, stored, unsaid = [], [], []
    for (part, row, place), (_, _, one) in zip(places, looked, strict=True):
        if one.reason:
            continue
        told, upright = tuple(part.file.sizes[row].tolist()), (one.height, one.width)
        frame = frame_of(reading, place, upright, told)
        if frame is None:
            exchanged = ", exchanged" if told == upright[::-1] else ""
            detail = f"{one.width}×{one.height} px, said are {told[1]}×{told[0]}{exchanged}"
            wrong.append(Finding(WRONG_SIZE, [str(place)], detail))
            continue
        if frame.stored != upright:
            stored.append(str(place))
        if not min(told):
            part.file.sizes[row] = torch.tensor(frame.stored)
            unsaid.append(str(place))
    notes = [Finding(AS_STORED, stored, "they are turned with it")] if stored else []
    return wrong, [*notes, Finding(UNSAID, unsaid, "taken from the files")] if unsaid else notes


def _about_classes(
    layout: Layout, parts: Sequence[_Part], objects: Mapping[str, Mapping[str, int]]
) -> Iterator[Finding]:
    """Classes that a run would know nothing of."""
    if layout.training is None or layout.training not in objects:
        return
    file = next(part.file for part in parts if part.name == layout.training)
    if file.flags.all():
        yield Finding("nothing to train on", [str(file.path)], "no objects but crowds and those to be ignored")
    yield from doctor.about_held_out_only(objects, layout.training)


def _objects(part: _Part, row: int) -> tuple[tuple[object, ...], ...]:
    """What is annotated in a picture: classes and boxes, in no order."""
    start, end = part.file.offsets[row : row + 2].tolist()
    labels, boxes = part.file.labels[start:end].tolist(), part.file.boxes[start:end].tolist()
    return tuple(sorted((part.file.categories[label].name, *box) for label, box in zip(labels, boxes, strict=True)))


def _by_area(file: CocoFile) -> dict[str, int]:
    areas, boxes = file.areas.numpy(), file.boxes.numpy()
    areas = np.where(np.isnan(areas), boxes[:, 2] * boxes[:, 3], areas)
    small, medium = int((areas < 32**2).sum()), int((areas < 96**2).sum())
    return {"small": small, "medium": medium - small, "large": len(areas) - medium}


def _box_statistics(parts: Sequence[_Part]) -> dict[str, list[float]]:
    sides = np.concatenate([part.file.boxes.numpy()[:, 2:] for part in parts] or [np.zeros((0, 2))])
    sides = sides[(sides > 0).all(1)]
    if not len(sides):
        return {}
    columns = {"width": sides[:, 0], "height": sides[:, 1], "aspect": sides[:, 0] / sides[:, 1]}
    return {name: [float(value) for value in np.quantile(column, _FIVE)] for name, column in columns.items()}
