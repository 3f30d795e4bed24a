"""What is wrong with a set of images, before hours of training find out: damaged, tiny, huge and repeated ones."""

import hashlib
import signal
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import DataLoader, Dataset

from gcvit.data.images import ImageError, load_image
from gcvit.data.labelled import LabelledImages
from gcvit.data.samples import Source
from gcvit.data.splits import HELD_OUT, TRAIN, WHOLE, find_splits

SMALLEST = 32  # pixels a side: below it GC ViT's fourth map has no pixel
HUGE = 24_000_000  # pixels; such an image takes half a second to decode each time it is seen
UNBALANCED = 10  # times as many images in the largest class as in the smallest


LEAK = "held-out image that is also trained on"
CONTRADICTION = "one image in several classes"
REPEAT = "repeated image"


class Seen(NamedTuple):
    """What an image is, or why it could not be read.

    file: SHA-256 of its bytes. pixels: SHA-256 of what the model would see, size included.
    """

    width: int
    height: int
    file: bytes
    pixels: bytes
    reason: str = ""


@dataclass(frozen=True)
class Finding:
    """One thing to know. kind: what it is, the same words for all of a kind. files: that it concerns."""

    kind: str
    files: list[str]
    detail: str = ""


@dataclass(frozen=True)
class Health:
    """What `examine` found.

    counts: images by split and class. sides: 5 quantiles (least, quarter, median, three quarters, greatest) of
    the readable images' width and height, in pixels. faults: to be mended. notes: to be known.
    """

    root: str
    counts: dict[str, dict[str, int]]
    sides: dict[str, list[int]]
    faults: list[Finding]
    notes: list[Finding]


def examine(
    root: str | Path, *, workers: int = 0, progress: Callable[[int, int], None] = lambda done, total: None
) -> Health:
    """Read every image of a set, whatever its form (see :func:`gcvit.data.splits.find_splits`).

    Args:
        root: the folder or archive.
        workers: processes that read.
        progress: called with the number of images done, and of all.

    Raises:
        ValueError: no images, an archive that cannot be used at all, or a worker that was killed.
    """
    splits = {name: read() for name, read in find_splits(root).items()}
    placed = Places(splits)
    seen: list[Seen] = []
    for some in read_all(_Look(placed), workers):
        seen += some
        progress(len(seen), len(placed))
    counts = {name: dict(zip(images.classes, images.counts(), strict=True)) for name, images in splits.items()}
    faults = [*_about_classes(splits), *_about_images(placed, seen), *_about_repeats(placed, seen)]
    notes = [*_about_balance(counts), *_about_huge(placed, seen)]
    return Health(str(root), counts, quantiles(seen), faults, notes)


class Placed(NamedTuple):
    """Where an image stands."""

    split: str
    label: str
    file: str


class Places(Sequence[Placed]):
    """Where all images stand, one split after the other; made when asked for, since there may be a million."""

    def __init__(self, splits: Mapping[str, LabelledImages]) -> None:
        self.splits = list(splits.items())
        self.ends = list(accumulate(len(images) for images in splits.values()))

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, index: Any) -> Any:
        split, images, position = self._find(index)
        return Placed(split, images.classes[images.label(position)], images.name(position))

    def source(self, index: int) -> Source:
        """What to read."""
        _, images, position = self._find(index)
        return images.samples[position][0]

    def _find(self, index: int) -> tuple[str, LabelledImages, int]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        at = bisect_right(self.ends, index)
        name, images = self.splits[at]
        return name, images, index - (self.ends[at] - len(images))


class _Look(Dataset):
    def __init__(self, places: Places) -> None:
        self.places = places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Seen:
        return look_at(self.places.source(index))


def look_at(source: Source) -> Seen:
    """Read one image, damaged or not."""
    try:
        image = load_image(source)
        content = source.read_bytes() if isinstance(source, Path) else source.read()
    except (ImageError, OSError) as error:
        return Seen(0, 0, b"", b"", str(error).removeprefix(f"cannot read image {source}: "))
    pixels = hashlib.sha256(f"{image.size}".encode() + image.tobytes())
    return Seen(image.width, image.height, hashlib.sha256(content).digest(), pixels.digest())


def read_all(reads: Dataset, workers: int) -> Iterator[list[Any]]:
    """The items of `reads` in order, some at a time.

    torch's loader notices a worker that dies, where Python's pools wait for ever. Raises ValueError for one.
    """
    loader = DataLoader(
        reads,
        batch_size=16,
        num_workers=workers,
        collate_fn=list,
        worker_init_fn=_leave_ctrl_c_to_the_parent,
    )
    try:
        yield from loader
    except RuntimeError as error:
        if not workers:
            raise
        reason = str(error).splitlines()[0]
        raise ValueError(f"a process that reads images died: {reason} If memory ran out, use fewer workers") from error


def _leave_ctrl_c_to_the_parent(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _about_classes(splits: Mapping[str, LabelledImages]) -> Iterator[Finding]:
    for name, images in splits.items():
        empty = [label for label, count in zip(images.classes, images.counts(), strict=True) if not count]
        if empty:
            yield Finding("class without images", [str(images.root / label) for label in empty], f"in {name}")
        if len(images.classes) == 1:
            yield Finding("only one class", [images.classes[0]], f"in {name}")
    if TRAIN in splits:
        known = set(splits[TRAIN].classes)
        for name in HELD_OUT:
            if name in splits:
                others = set(splits[name].classes)
                for missing, place in ((known - others, name), (others - known, TRAIN)):
                    if missing:
                        yield Finding("class on one side only", sorted(missing), f"missing in {place}")


def _about_images(placed: Places, seen: list[Seen]) -> Iterator[Finding]:
    for place, one in zip(placed, seen, strict=True):
        if one.reason:
            yield Finding("unreadable", [place.file], one.reason)
    for place, one in zip(placed, seen, strict=True):
        if not one.reason and min(one.width, one.height) < SMALLEST:
            yield Finding("tiny", [place.file], f"{one.width}×{one.height} px")


def _about_huge(placed: Places, seen: list[Seen]) -> Iterator[Finding]:
    for place, one in zip(placed, seen, strict=True):
        if one.width * one.height > HUGE:
            yield Finding("huge", [place.file], f"{one.width}×{one.height} px")


def _about_repeats(placed: Places, seen: list[Seen]) -> Iterator[Finding]:
    """Groups of images with the same pixels, the worst kind first."""
    found: dict[str, list[Finding]] = {LEAK: [], CONTRADICTION: [], REPEAT: []}
    for group in repeated(seen):
        finding = _repeat([placed[i] for i in group], same_file=len({seen[i].file for i in group}) == 1)
        found[finding.kind].append(finding)
    for findings in found.values():
        yield from findings


def repeated(seen: Iterable[Seen]) -> list[list[int]]:
    """Numbers of the readable images that have the same pixels, two or more in a group."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for index, one in enumerate(seen):
        if not one.reason:
            groups[one.pixels].append(index)
    return [group for group in groups.values() if len(group) > 1]


def _repeat(group: list[Placed], same_file: bool) -> Finding:
    splits, labels = sorted({one.split for one in group}), sorted({one.label for one in group})
    kind = LEAK if TRAIN in splits and len(splits) > 1 else CONTRADICTION if len(labels) > 1 else REPEAT
    detail = f"{'the same file' if same_file else 'the same pixels in different files'} in {' and '.join(labels)}"
    if len(splits) > 1:
        detail += f", in {' and '.join(splits)}"
    elif splits == [WHOLE]:
        detail += "; a division of this set may train on one and hold out the other"
    return Finding(kind, [one.file for one in group], detail)


def _about_balance(counts: Mapping[str, Mapping[str, int]]) -> Iterator[Finding]:
    for name, per_class in counts.items():
        ranked = Counter({label: count for label, count in per_class.items() if count}).most_common()
        if name not in HELD_OUT and ranked and ranked[0][1] >= UNBALANCED * ranked[-1][1]:
            (most, many), (least, few) = ranked[0], ranked[-1]
            yield Finding("unbalanced classes", [], f"{many:,} images of {most}, {few:,} of {least}")


def quantiles(seen: Iterable[Seen]) -> dict[str, list[int]]:
    """Of width and height, as in :attr:`Health.sides`."""
    sizes = np.array([(one.width, one.height) for one in seen if not one.reason])
    if not len(sizes):
        return {}
    table = np.quantile(sizes, (0, 0.25, 0.5, 0.75, 1), axis=0, method="nearest").T
    return {name: [int(value) for value in row] for name, row in zip(("width", "height"), table, strict=True)}
