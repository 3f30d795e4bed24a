"""Pictures with label maps: those to train on and those to evaluate on, with the same classes."""

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from gcvit.data.images import ImageError, load_picture
from gcvit.data.label_maps import AS_USUAL, IGNORED, MOST_CLASSES, LabelMapping, default_palette, load_labels
from gcvit.data.parts import SampledPictures, open_both, open_one
from gcvit.data.pixels import Picture, size_of
from gcvit.data.remarks import Remarks
from gcvit.data.segment_folders import Layout, Pair, find_scenes, generic_names, has_held_out, read_class_names
from gcvit.data.settings import LabelReading
from gcvit.data.split_names import WHOLE
from gcvit.distributed import is_main
from gcvit.errors import UserError
from gcvit.wording import listed, plural


class ClassesNote(UserWarning):
    """Label files have no names for their classes, so all of them are read to count these."""


class SegmentationImages(SampledPictures):
    """Pictures with a class per pixel; item i is (picture, int16 labels (height, width)).

    Labels are 0 … classes-1 and -1, `gcvit.data.label_maps.IGNORED`. Raises :class:`gcvit.data.images.ImageError`,
    which names the file, for a damaged picture or label file, values that are no class, and two different sizes.

    Attributes:
        classes: names by label.
        palette: a colour by label.
        samples: picture and label file of each item, sorted by name.
        mapping: what the values in label files mean.
        remarks: what was passed over there.
    """

    samples: list[Pair]  # type: ignore[assignment]

    def __init__(
        self,
        root: Path,
        samples: Iterable[Pair],
        classes: Sequence[str],
        mapping: LabelMapping,
        remarks: Remarks | None = None,
    ) -> None:
        self.root, self.samples, self.classes = root, list(samples), list(classes)
        self.mapping, self.remarks = mapping, remarks or Remarks()
        self.palette = default_palette(len(self.classes))

    def __getitem__(self, index: int) -> tuple[Picture, np.ndarray]:
        file, labels_file = self.samples[index]
        picture, labels = load_picture(file, self.pixels), load_labels(labels_file, self.mapping)
        (width, height), (wide, high) = size_of(picture), labels.shape[::-1]
        if (width, height) != (wide, high):
            turned = "; one of them is turned (pictures are put upright as their EXIF says, label maps as theirs)"
            raise ImageError(
                f"cannot read labels {labels_file}: {wide}×{high} px, while the picture {file} has {width}×{height}"
                f"{turned if (width, height) == (high, wide) else ''}"
            )
        return picture, labels

    def subset(self, indices: Iterable[int]) -> "SegmentationImages":
        return self._with(samples=[self.samples[index] for index in indices])


def open_segmentation(
    root: str | os.PathLike[str],
    reading: LabelReading = AS_USUAL,
    *,
    val_fraction: float = 0.1,
    seed: int = 0,
) -> tuple[SegmentationImages, SegmentationImages]:
    """The training and the held-out pictures of `root`, with the same classes.

    Args:
        root: has images/ and annotations/ (or labels/, masks/), see :func:`gcvit.data.segment_folders.find_scenes`.
            Without a validation part the pictures are divided.
        reading: how label files are read. Without a file of names, classes.txt or objectInfo150.txt in `root`, classes
            are counted by reading all label files, once in a process, and called "class 0" ….
        val_fraction, seed: as in :func:`gcvit.data.parts.open_both`.

    Raises:
        ValueError: nothing to train on, pictures without label file, fewer than two classes, or an ignore label that
            is a class.
    """
    layout = find_scenes(root)
    if layout.training is None:
        raise UserError(f"{layout.root} has images/{layout.held_out} but no images/training to train on")
    for name in filter(None, (layout.training, layout.held_out)):
        layout.parts[name].checked()  # before all label files are read to count the classes
    return open_both(layout, _opener(layout, reading), val_fraction, seed)


def open_segmentation_held_out(
    root: str | os.PathLike[str],
    reading: LabelReading = AS_USUAL,
    *,
    val_fraction: float | None = None,
    seed: int = 0,
    classes: Sequence[str] | None = None,
) -> tuple[SegmentationImages, str]:
    """What to evaluate on, and in words what that is: the validation part, or what
    :func:`gcvit.data.parts.open_one` says. Raises UserError for what cannot be evaluated on.

    classes: the names where `root` has none, such as a checkpoint's. Other arguments as in :func:`open_segmentation`.
    """
    layout = find_scenes(root)
    part = layout.parts[layout.held_out or layout.training or WHOLE]
    part.checked()
    alone = f"{layout.root} has images/{layout.training} but no images/validation"
    images, said = open_one(Path(root), layout, _opener(layout, reading, classes), val_fraction, seed, alone)
    return images, said or str(part.pictures)


def is_divided(root: str | os.PathLike[str]) -> bool:
    """Whether training holds out a share of `root` itself, since there is no validation part."""
    return not has_held_out(root)


def check_ignore_label(root: Path, classes: Sequence[str], ignore_label: int | None, zero_is_ignored: bool) -> None:
    """Raises UserError where 255, the default, is a class; a smaller one may leave out a class on purpose."""
    if ignore_label == 255 and zero_is_ignored + len(classes) > 255:
        raise UserError(
            f"{root}: with {len(classes)} classes 255 is one of them, {classes[255 - zero_is_ignored]!r}; give another "
            "ignore_label, such as 65535, or none"
        )


def _opener(
    layout: Layout, reading: LabelReading, usual: Sequence[str] | None = None
) -> Callable[[str], SegmentationImages]:
    """What opens a part, by its name, with the classes of all parts: those that have names, or else the usual ones."""
    ignore_label = reading.ignore_label
    zero = layout.is_ade if reading.zero_is_ignored is None else reading.zero_is_ignored
    names = read_class_names(layout, reading.classes_file) or usual
    if names is None:
        files = tuple(pair.labels for part in layout.parts.values() for pair in part.pairs)
        changed = tuple(file.stat().st_mtime_ns for file in files)
        names = generic_names(1 + _largest_label(files, changed, ignore_label, zero))
    if len(names) < 2:
        raise UserError(
            f"{layout.root}: only one class, {names[0]!r}; segmentation needs at least two (the value {ignore_label} "
            "is ignored; `gcvit doctor PATH` shows which values there are)"
        )
    check_ignore_label(layout.root, names, ignore_label, zero)
    mapping, remarks = LabelMapping(len(names), ignore_label, zero), _remarks(layout)
    return lambda name: SegmentationImages(layout.root, layout.parts[name].checked(), names, mapping, remarks)


def _remarks(layout: Layout) -> Remarks:
    """What was passed over in the folder, and which parts and label files are not used."""
    remarks = layout.all_remarks()
    for part in layout.parts.values():
        if part.without_picture:
            files = f"{plural(len(part.without_picture), 'label file')} without picture passed over"
            remarks.notes.append(f"{part.labels}: {files}, such as {part.without_picture[0]}")
    if layout.others:
        remarks.notes.append(f"{layout.root}: held out is {layout.held_out}/, and not {listed(layout.others)}")
    return remarks


@lru_cache(maxsize=8)
def _largest_label(
    files: tuple[Path, ...], changed: tuple[int, ...], ignore_label: int | None, zero_is_ignored: bool
) -> int:
    """The largest label in the files; `changed`, when each was, is there for the cache.

    Raises UserError where no pixel has a label.
    """
    if is_main():
        text = f"no classes' names, so all {len(files):,} label files are read to count the classes; a classes.txt in "
        text += "the folder, or a classes_file, saves that"
        warnings.warn(ClassesNote(text), stacklevel=2)
    mapping = LabelMapping(MOST_CLASSES, ignore_label, zero_is_ignored)
    largest = max((int(load_labels(file, mapping).max()) for file in files), default=IGNORED)
    if largest == IGNORED:
        raise UserError(
            f"no pixel with a class in any of the {len(files):,} label files: all their values are ignored; give "
            "another ignore_label, or none"
        )
    return largest
