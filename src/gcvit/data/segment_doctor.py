"""What is wrong with pictures and their label maps, before hours of training find out."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gcvit.data import doctor
from gcvit.data.doctor import Finding, Health, Looked, Seen
from gcvit.data.formats import blocks
from gcvit.data.images import ImageError
from gcvit.data.label_maps import AS_USUAL, MOST_CLASSES, ColourImageError, LabelMapping, read_label_values
from gcvit.data.segment import check_ignore_label
from gcvit.data.segment_folders import CLASSES, Layout, Pair, find_scenes, generic_names, read_class_names
from gcvit.data.settings import RGB8, LabelReading, PixelFormat
from gcvit.data.split_names import WHOLE
from gcvit.errors import UserError
from gcvit.wording import count, percent

CONTRADICTION = "one picture with several label maps"
UNREADABLE = "unreadable label map"
COLOURS = "label map in colours"


class SeenLabels(NamedTuple):
    """What a label map is, or why it could not be read.

    values, counts: in the file as it is, and of how many pixels. digest: SHA-256 of all values, size included.
    kind: of the fault, "" for none.
    """

    width: int
    height: int
    values: np.ndarray
    counts: np.ndarray
    digest: bytes
    kind: str = ""
    reason: str = ""


class SeenScene(NamedTuple):
    """A picture and its label map."""

    part: str
    pair: Pair
    picture: Seen
    labels: SeenLabels


@dataclass(frozen=True, kw_only=True)
class SceneHealth(Health):
    """What `examine_scenes` found.

    pictures: with a label map, by part. pixels: by part and class, in label maps that could be read. ignored: pixels
    that do not count, by part.
    """

    pictures: dict[str, int]
    pixels: dict[str, dict[str, int]]
    ignored: dict[str, int]

    @property
    def parts(self) -> dict[str, str]:
        said = {}
        for part, number in self.pictures.items():
            pixels = self.ignored[part] + sum(self.pixels[part].values())
            share = f", {percent(self.ignored[part] / pixels)} of them ignored" if pixels else ""
            said[part] = f"{number:,} pictures, {count(pixels)} pixels{share}"
        return said

    def per_class(self) -> tuple[list[str], list[list[str]]]:
        """Their shares of the pixels that have a class."""
        totals = {part: max(1, sum(pixels.values())) for part, pixels in self.pixels.items()}
        shares = {part: {name: n / totals[part] for name, n in pixels.items()} for part, pixels in self.pixels.items()}
        return doctor.class_table(next(iter(shares.values())), shares, ("rarest", "commonest"), _share)


def _share(share: float) -> str:
    return "< 0.1%" if 0 < share < 0.0005 else percent(share) if share else "none"


def examine_scenes(
    root: str | os.PathLike[str],
    reading: LabelReading = AS_USUAL,
    *,
    pixels: PixelFormat = RGB8,
    workers: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SceneHealth:
    """Read every picture of a set and its label map.

    Args:
        root, reading: as in :func:`gcvit.data.segment.open_segmentation`.
        pixels: of the pictures, as a model takes them.
        workers, progress: as in :func:`gcvit.data.doctor.look_through`.

    Raises:
        ValueError: folders that are not as expected, no pictures, an ignore label that is a class, or a worker that
            was killed.
    """
    layout = find_scenes(root)
    places = [(pair.picture, pair, name) for name, part in layout.parts.items() for pair in part.pairs]
    if not places and not any(part.without_labels for part in layout.parts.values()):
        raise UserError(f"{layout.root}: no pictures in it")
    ignore_label = reading.ignore_label
    names = read_class_names(layout, reading.classes_file)
    zero = layout.is_ade if reading.zero_is_ignored is None else reading.zero_is_ignored
    if names is not None:
        check_ignore_label(layout.root, names, ignore_label, zero)
    seen = doctor.look_through(places, partial(_look_at, pixels=pixels), workers, progress)
    looked = [Looked(scene.part, str(scene.pair.picture), scene.picture) for scene in seen]
    notes = list[Finding]()
    if names is None:
        names = generic_names(_count_classes(seen, ignore_label, zero))
        check_ignore_label(layout.root, names, ignore_label, zero)
        notes.append(Finding("classes without names", [], f"{len(names)} were counted; {CLASSES} would name them"))
    mapping = LabelMapping(len(names), ignore_label, zero)
    counted, ignored = _count(layout, seen, names, mapping)
    remarks = layout.all_remarks()
    faults = [
        *doctor.about_most_passed_over(remarks, 2 * len(places)),
        *_about_partners(layout),
        *doctor.about_unreadable(looked, "unreadable picture"),
        *_about_label_maps(seen),
        *_about_unknown_labels(seen, mapping),
        *_about_parts(layout, counted),
        *_about_untrained_classes(layout, counted, seen, mapping),
        *doctor.about_repeats(looked, CONTRADICTION, lambda number: seen[number].labels.digest or None, "labels"),
    ]
    notes += _worth_knowing(layout, seen, counted, mapping)
    return SceneHealth(
        root=str(root),
        pictures={name: len(part.pairs) for name, part in layout.parts.items()},
        pixels=counted,
        ignored=ignored,
        **doctor.in_common(looked, pixels, remarks, faults, notes),
    )


def _look_at(place: tuple[Path, Pair, str], pixels: PixelFormat) -> SeenScene:
    _, pair, part = place
    return SeenScene(part, pair, doctor.look_at(pair.picture, pixels), _look_at_labels(pair.labels))


def _look_at_labels(file: Path) -> SeenLabels:
    try:
        labels = read_label_values(file)
    except ImageError as error:
        kind = COLOURS if isinstance(error, ColourImageError) else UNREADABLE
        reason = str(error).removeprefix(f"cannot read labels {file}: ")
        return SeenLabels(0, 0, np.array([], int), np.array([], int), b"", kind, reason)
    digest, counts = hashlib.sha256(f"{labels.shape}".encode()), Counter[int]()
    for rows in blocks(*labels.shape):
        digest.update(labels[rows].tobytes())
        counts.update(dict(zip(*(some.tolist() for some in np.unique(labels[rows], return_counts=True)), strict=True)))
    values = np.array(sorted(counts), np.int64)
    sums = np.array([counts[value] for value in values.tolist()], np.int64)
    return SeenLabels(labels.shape[1], labels.shape[0], values, sums, digest.digest())


def _count_classes(seen: Sequence[SeenScene], ignore_label: int | None, zero_is_ignored: bool) -> int:
    """One more than the largest label, or 1 where there is none."""
    mapping = LabelMapping(MOST_CLASSES, ignore_label, zero_is_ignored)
    return 1 + max((int(mapping(scene.labels.values)[0].max(initial=0)) for scene in seen), default=0)


def _count(
    layout: Layout, seen: Sequence[SeenScene], names: Sequence[str], mapping: LabelMapping
) -> tuple[dict[str, dict[str, int]], dict[str, int]]:
    """Pixels by part and class, and those ignored by part."""
    totals = {name: np.zeros(len(names), dtype=np.int64) for name in layout.parts}
    ignored = dict.fromkeys(layout.parts, 0)
    for scene in seen:
        labels, known = mapping(scene.labels.values)
        inside = labels >= 0
        totals[scene.part][labels[inside]] += scene.labels.counts[inside]  # each label once: the values are distinct
        ignored[scene.part] += int(scene.labels.counts[known & ~inside].sum())
    return {name: dict(zip(names, total.tolist(), strict=True)) for name, total in totals.items()}, ignored


def _about_partners(layout: Layout) -> Iterator[Finding]:
    for part in layout.parts.values():
        if part.doubles:
            yield Finding("one name twice", [str(file) for file in part.doubles], "it is unknown which one is meant")
        if part.mismatch:
            yield Finding("names that do not match", [str(part.labels)], part.mismatch)
        elif part.without_labels:
            files = [str(file) for file in part.without_labels]
            yield Finding("picture without label map", files, f"{len(files):,} missing in {part.labels}")


def _about_label_maps(seen: Sequence[SeenScene]) -> Iterator[Finding]:
    for kind in (UNREADABLE, COLOURS):
        for scene in seen:
            if scene.labels.kind == kind:
                yield Finding(kind, [str(scene.pair.labels)], scene.labels.reason)
    for scene in seen:
        picture, labels = scene.picture, scene.labels
        if not (picture.reason or labels.reason) and (picture.width, picture.height) != (labels.width, labels.height):
            detail = f"{picture.width}×{picture.height} px, its labels {labels.width}×{labels.height}"
            yield Finding("two sizes", [str(scene.pair.picture)], detail)


def _about_unknown_labels(seen: Sequence[SeenScene], mapping: LabelMapping) -> Iterator[Finding]:
    """Those in most files first."""
    files: dict[int, list[str]] = defaultdict(list)
    pixels: Counter[int] = Counter()
    for scene in seen:
        _, known = mapping(scene.labels.values)
        for value, number in zip(scene.labels.values[~known], scene.labels.counts[~known], strict=True):
            files[int(value)].append(str(scene.pair.labels))
            pixels[int(value)] += int(number)
    ignored = any(mapping.ignore_label in scene.labels.values for scene in seen)  # there can be one such value only
    for value in sorted(files, key=lambda value: (-len(files[value]), value)):
        where = f"value {value}: {pixels[value]:,} px in {len(files[value]):,} files"
        detail = f"{where}; known are {mapping.values()}"
        if not ignored:
            detail += f". If it means no class: --ignore-label {value}"
        yield Finding("unknown label", files[value], detail)


def _worth_knowing(
    layout: Layout, seen: Sequence[SeenScene], pixels: Mapping[str, Mapping[str, int]], mapping: LabelMapping
) -> Iterator[Finding]:
    for part in layout.parts.values():
        if part.without_picture and not part.mismatch:
            files = [str(file) for file in part.without_picture]
            yield Finding("label map without picture", files, f"{len(files):,} missing in {part.pictures}")
    for scene in seen:
        labels, known = mapping(scene.labels.values)
        if not scene.labels.reason and known.all() and (labels < 0).all():
            yield Finding("label map without any label", [str(scene.pair.labels)], "all of it is ignored")
    yield from doctor.about_never(pixels.values())
    if layout.training and layout.held_out:
        held_out = pixels[layout.held_out]
        only = [label for label, trained in pixels[layout.training].items() if trained and not held_out[label]]
        if only:
            yield Finding("class that is only trained on", only, f"never in {layout.held_out}: no score says how well")


def _about_parts(layout: Layout, pixels: Mapping[str, Mapping[str, int]]) -> Iterator[Finding]:
    """What would stop a run, perhaps only at its first evaluation."""
    for name in filter(None, dict.fromkeys((layout.training, layout.held_out))):
        part = layout.parts[name]
        if not part.pairs:
            yield Finding("part without pictures", [str(part.pictures)], "none that has a label map")
        elif not any(pixels[name].values()):
            yield Finding("part without labels", [str(part.labels)], "no pixel in it has a class")
        elif name == WHOLE and len(part.pairs) == 1:
            yield Finding("part without pictures", [str(part.pictures)], "one, too few to hold out others; add some")


def _about_untrained_classes(
    layout: Layout, pixels: Mapping[str, Mapping[str, int]], seen: Sequence[SeenScene], mapping: LabelMapping
) -> Iterator[Finding]:
    classes = list(next(iter(pixels.values())))
    trained = [label for label in classes if layout.training and pixels[layout.training][label]]
    if len(trained) == 1:
        detail = "segmentation needs at least two"
        if any(mapping.ignore_label in scene.labels.values for scene in seen):
            detail += (
                f"; {mapping.ignore_label} is ignored: if it is a class, write it as {max(len(classes) - 1, 1)} or less"
            )
        yield Finding("only one class has pixels to train on", trained, detail)
    if layout.training:
        yield from doctor.about_held_out_only(pixels, layout.training)
