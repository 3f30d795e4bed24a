"""What is wrong with pictures and their label maps, before hours of training find out."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset

from gcvit.data.doctor import LEAK, REPEAT, Finding, Seen, look_at, quantiles, read_all, repeated
from gcvit.data.images import ImageError
from gcvit.data.label_maps import MOST_CLASSES, ColourImageError, LabelMapping, read_label_values
from gcvit.data.segment import check_ignore_label
from gcvit.data.segment_folders import CLASSES, WHOLE, Layout, Pair, find_scenes, generic_names, read_class_names

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


@dataclass(frozen=True)
class SceneHealth:
    """What `examine_scenes` found.

    pictures: with a label map, by part. pixels: by part and class, in label maps that could be read. ignored: pixels
    that do not count, by part. sides: quantiles as in :class:`gcvit.data.doctor.Health`. faults: to be mended.
    notes: to be known.
    """

    root: str
    pictures: dict[str, int]
    pixels: dict[str, dict[str, int]]
    ignored: dict[str, int]
    sides: dict[str, list[int]]
    faults: list[Finding]
    notes: list[Finding]


def examine_scenes(
    root: str | os.PathLike[str],
    *,
    classes_file: str | os.PathLike[str] | None = None,
    ignore_label: int | None = 255,
    zero_is_ignored: bool | None = None,
    workers: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SceneHealth:
    """Read every picture of a set and its label map.

    Args:
        root, classes_file, ignore_label, zero_is_ignored: as in :func:`gcvit.data.segment.open_segmentation`.
        workers: processes that read.
        progress: called with the number of pictures done, and of all.

    Raises:
        ValueError: folders that are not as expected, no pictures, an ignore label that is a class, or a worker that
            was killed.
    """
    layout = find_scenes(root)
    places = [(name, pair) for name, part in layout.parts.items() for pair in part.pairs]
    if not places and not any(part.without_labels for part in layout.parts.values()):
        raise ValueError(f"{layout.root}: no pictures in it")
    names = read_class_names(layout, classes_file)
    zero = layout.is_ade if zero_is_ignored is None else zero_is_ignored
    if names is not None:
        check_ignore_label(layout.root, names, ignore_label, zero)
    seen: list[SeenScene] = []
    for some in read_all(_Look(places), workers):
        seen += some
        progress(len(seen), len(places))
    notes = [*_about_labels_alone(layout)]
    if names is None:
        names = generic_names(_count_classes(seen, ignore_label, zero))
        check_ignore_label(layout.root, names, ignore_label, zero)
        notes.append(Finding("classes without names", [], f"{len(names)} were counted; {CLASSES} would name them"))
    mapping = LabelMapping(len(names), ignore_label, zero)
    pixels, ignored = _count(layout, seen, names, mapping)
    return SceneHealth(
        root=str(root),
        pictures={name: len(part.pairs) for name, part in layout.parts.items()},
        pixels=pixels,
        ignored=ignored,
        sides=quantiles(scene.picture for scene in seen),
        faults=[
            *_about_partners(layout),
            *_about_files(seen),
            *_about_unknown_labels(seen, mapping),
            *_about_parts(layout, pixels),
            *_about_untrained_classes(layout, pixels, seen, mapping),
            *_about_repeats(layout, seen),
        ],
        notes=[*notes, *_about_nothing_labelled(seen, mapping), *_about_rare_classes(layout, pixels)],
    )


class _Look(Dataset):
    def __init__(self, places: Sequence[tuple[str, Pair]]) -> None:
        self.places = places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> SeenScene:
        part, pair = self.places[index]
        return SeenScene(part, pair, look_at(pair.picture), _look_at_labels(pair.labels))


def _look_at_labels(file: Path) -> SeenLabels:
    try:
        labels = read_label_values(file)
    except ImageError as error:
        kind = COLOURS if isinstance(error, ColourImageError) else UNREADABLE
        reason = str(error).removeprefix(f"cannot read labels {file}: ")
        return SeenLabels(0, 0, np.array([], int), np.array([], int), b"", kind, reason)
    digest = hashlib.sha256(f"{labels.shape}".encode() + labels.tobytes()).digest()
    return SeenLabels(labels.shape[1], labels.shape[0], *np.unique(labels, return_counts=True), digest)


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
        if part.without_labels:
            files = [str(file) for file in part.without_labels]
            yield Finding("picture without label map", files, f"{len(files):,} missing in {part.labels}")


def _about_labels_alone(layout: Layout) -> Iterator[Finding]:
    for part in layout.parts.values():
        if part.without_picture:
            files = [str(file) for file in part.without_picture]
            yield Finding("label map without picture", files, f"{len(files):,} missing in {part.pictures}")


def _about_files(seen: Sequence[SeenScene]) -> Iterator[Finding]:
    for scene in seen:
        if scene.picture.reason:
            yield Finding("unreadable picture", [str(scene.pair.picture)], scene.picture.reason)
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
        for value, count in zip(scene.labels.values[~known], scene.labels.counts[~known], strict=True):
            files[int(value)].append(str(scene.pair.labels))
            pixels[int(value)] += int(count)
    ignored = any(mapping.ignore_label in scene.labels.values for scene in seen)  # there can be one such value only
    for value in sorted(files, key=lambda value: (-len(files[value]), value)):
        where = f"value {value}: {pixels[value]:,} px in {len(files[value]):,} files"
        detail = f"{where}; known are {mapping.values()}"
        if not ignored:
            detail += f". If it means no class: --ignore-label {value}"
        yield Finding("unknown label", files[value], detail)


def _about_nothing_labelled(seen: Sequence[SeenScene], mapping: LabelMapping) -> Iterator[Finding]:
    for scene in seen:
        labels, known = mapping(scene.labels.values)
        if not scene.labels.reason and known.all() and (labels < 0).all():
            yield Finding("label map without any label", [str(scene.pair.labels)], "all of it is ignored")


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
    for name in pixels:
        only = [label for label in classes if pixels[name][label] and not pixels[layout.training or name][label]]
        if only:
            yield Finding("class that is only held out", only, f"in {name}, never in {layout.training}")


def _about_rare_classes(layout: Layout, pixels: Mapping[str, Mapping[str, int]]) -> Iterator[Finding]:
    classes = list(next(iter(pixels.values())))
    nowhere = [label for label in classes if not any(counts[label] for counts in pixels.values())]
    if nowhere:
        yield Finding("class that never occurs", nowhere)
    if layout.training and layout.held_out:
        held_out = pixels[layout.held_out]
        only = [label for label in classes if pixels[layout.training][label] and not held_out[label]]
        if only:
            yield Finding("class that is only trained on", only, f"never in {layout.held_out}: no score says how well")


def _about_repeats(layout: Layout, seen: Sequence[SeenScene]) -> Iterator[Finding]:
    """Groups of pictures with the same pixels, the worst kind first."""
    found: dict[str, list[Finding]] = {LEAK: [], CONTRADICTION: [], REPEAT: []}
    for numbers in repeated(scene.picture for scene in seen):
        finding = _repeat(layout, [seen[number] for number in numbers])
        found[finding.kind].append(finding)
    for findings in found.values():
        yield from findings


def _repeat(layout: Layout, group: Sequence[SeenScene]) -> Finding:
    parts = sorted({scene.part for scene in group})
    several = len({scene.labels.digest for scene in group if not scene.labels.reason}) > 1
    kind = LEAK if layout.training in parts and len(parts) > 1 else CONTRADICTION if several else REPEAT
    same_file = len({scene.picture.file for scene in group}) == 1
    detail = "the same file" if same_file else "the same pixels in different files"
    detail += " with different labels" if several else ""
    if len(parts) > 1:
        detail += f", in {' and '.join(parts)}"
    elif parts == [WHOLE]:
        detail += "; a division of this set may train on one and hold out the other"
    return Finding(kind, [str(scene.pair.picture) for scene in group], detail)
