"""What is wrong with a set of images, before hours of training find out: damaged, tiny, huge and repeated ones."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gcvit.data import doctor
from gcvit.data.doctor import Finding, Health, Looked, Seen
from gcvit.data.labelled import LabelledImages
from gcvit.data.pixels import SMALLEST
from gcvit.data.remarks import Remarks
from gcvit.data.samples import Samples, Source
from gcvit.data.settings import RGB8, PixelFormat
from gcvit.data.split_names import is_held_out
from gcvit.data.splits import find_splits
from gcvit.data.tar_index import index_path
from gcvit.data.tars import index_error

UNBALANCED = 10  # times as many images in the largest class as in the smallest

CONTRADICTION = "one image in several classes"


@dataclass(frozen=True, kw_only=True)
class ImageHealth(Health):
    """What `examine` found. counts: images by split and class."""

    counts: dict[str, dict[str, int]]

    @property
    def parts(self) -> dict[str, str]:
        return {
            split: f"{sum(per_class.values()):,} images of {len(per_class):,} classes"
            for split, per_class in self.counts.items()
        }

    def per_class(self) -> tuple[list[str], list[list[str]]]:
        return doctor.class_table(sorted(set().union(*self.counts.values())), self.counts, ("smallest", "largest"))


def examine(
    root: str | Path,
    *,
    pixels: PixelFormat = RGB8,
    workers: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ImageHealth:
    """Read every image of a set, whatever its form (see :func:`gcvit.data.splits.find_splits`).

    Args:
        root: the folder or archive.
        pixels: as a model takes them.
        workers, progress: as in :func:`gcvit.data.doctor.look_through`.

    Raises UserError for no images, an archive that cannot be used at all, and a worker that was killed.
    """
    found = find_splits(root)
    splits = {name: read() for name, read in found.parts.items()}
    places = Samples(_numbered(splits.values()))
    kinds = [(name, label) for name, images in splits.items() for label in images.classes]  # by number
    seen = doctor.look_through(places, partial(_look, pixels=pixels), workers, progress)
    looked = [Looked(kinds[at][0], str(source), one) for (source, at), one in zip(places, seen, strict=True)]
    counts = {name: dict(zip(images.classes, images.counts(), strict=True)) for name, images in splits.items()}
    remarks = Remarks.joined(found.remarks(), *(images.remarks for images in splits.values()))
    faults = [
        *_about_indexes(found.archives),
        *doctor.about_most_passed_over(remarks, len(looked)),
        *_about_classes(splits),
        *doctor.about_unreadable(looked, "unreadable"),
        *_about_tiny(looked),
        *doctor.about_repeats(looked, CONTRADICTION, lambda number: kinds[places.labels[number]][1]),
    ]
    common = doctor.in_common(looked, pixels, remarks, faults, _about_balance(counts))
    return ImageHealth(root=str(root), counts=counts, **common)


def _numbered(splits: Iterable[LabelledImages]) -> Iterator[tuple[Source, int]]:
    """Where all images stand, one split after the other, and the number of each one's class among those of all."""
    first = 0
    for images in splits:
        yield from ((source, first + label) for source, label in images.samples)
        first += len(images.classes)


def _look(place: tuple[Source, int], pixels: PixelFormat) -> Seen:
    return doctor.look_at(place[0], pixels)


def _about_indexes(archives: Iterable[Path]) -> Iterator[Finding]:
    for archive in archives:
        if error := index_error(archive):
            yield Finding("index that is not the archive's", [str(index_path(archive))], error)


def _about_classes(splits: Mapping[str, LabelledImages]) -> Iterator[Finding]:
    for name, images in splits.items():
        empty = [label for label, count in zip(images.classes, images.counts(), strict=True) if not count]
        if empty:
            yield Finding("class without images", [str(images.root / label) for label in empty], f"in {name}")
        if len(images.classes) == 1:
            yield Finding("only one class", [images.classes[0]], f"in {name}")
    training = next((name for name in splits if not is_held_out(name)), None)
    for name in filter(is_held_out, splits):
        others = set(splits[name].classes)
        known = set(splits[training].classes) if training else others
        for missing, place in ((known - others, name), (others - known, training)):
            if missing:
                yield Finding("class on one side only", sorted(missing), f"missing in {place}")


def _about_tiny(looked: Sequence[Looked]) -> Iterator[Finding]:
    for _, file, seen in looked:
        if not seen.reason and min(seen.width, seen.height) < SMALLEST:
            yield Finding("tiny", [file], f"{seen.width}×{seen.height} px")


def _about_balance(counts: Mapping[str, Mapping[str, int]]) -> Iterator[Finding]:
    for name, per_class in counts.items():
        ranked = Counter({label: count for label, count in per_class.items() if count}).most_common()
        if not is_held_out(name) and ranked and ranked[0][1] >= UNBALANCED * ranked[-1][1]:
            (most, many), (least, few) = ranked[0], ranked[-1]
            yield Finding("unbalanced classes", [], f"{many:,} images of {most}, {few:,} of {least}")
