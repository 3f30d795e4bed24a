"""Pictures with label maps: those to train on and those to evaluate on, with the same classes."""

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from gcvit.data.images import ImageError, load_image
from gcvit.data.label_maps import IGNORED, MOST_CLASSES, LabelMapping, default_palette, load_labels
from gcvit.data.sampling import permutation
from gcvit.data.segment_folders import WHOLE, Layout, Pair, find_scenes, generic_names, has_held_out, read_class_names
from gcvit.distributed import is_main


class ClassesNote(UserWarning):
    """Label files have no names for their classes, so all of them are read to count these."""


class SegmentationImages(Dataset):
    """Pictures with a class per pixel; item i is (RGB PIL image, int16 labels (height, width)).

    Labels are 0 … classes-1 and -1, `gcvit.data.label_maps.IGNORED`. Raises :class:`gcvit.data.images.ImageError`,
    which names the file, for a damaged picture or label file, values that are no class, and two different sizes.

    Attributes:
        root: where they come from.
        classes: names by label.
        palette: a colour by label.
        pairs: picture and label file of each item, sorted by name.
        mapping: what the values in label files mean.
        named: whether the names are a person's, and not "class 0" ….
    """

    def __init__(
        self, root: Path, pairs: Iterable[Pair], classes: Sequence[str], mapping: LabelMapping, *, named: bool = True
    ) -> None:
        self.root, self.pairs, self.classes, self.mapping, self.named = root, list(pairs), list(classes), mapping, named
        self.palette = default_palette(len(self.classes))

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Image.Image, np.ndarray]:
        picture, file = self.pairs[index]
        image, labels = load_image(picture), load_labels(file, self.mapping)
        check_sizes(self.pairs[index], image.size, labels.shape[::-1])
        return image, labels

    def name(self, index: int) -> str:
        """What a person calls the picture."""
        return str(self.pairs[index].picture)

    def subset(self, indices: Iterable[int]) -> "SegmentationImages":
        """The same classes with some of the pictures."""
        chosen = [self.pairs[index] for index in indices]
        return SegmentationImages(self.root, chosen, self.classes, self.mapping, named=self.named)


def open_segmentation(
    root: str | os.PathLike[str],
    *,
    classes_file: str | os.PathLike[str] | None = None,
    ignore_label: int | None = 255,
    zero_is_ignored: bool | None = None,
    val_fraction: float = 0.1,
    seed: int = 0,
) -> tuple[SegmentationImages, SegmentationImages]:
    """The training and the held-out pictures of `root`, with the same classes.

    Args:
        root: has images/ and annotations/ (or labels/, masks/), see :func:`gcvit.data.segment_folders.find_scenes`.
            Without a validation part the pictures are divided.
        classes_file: text, a name a line; None: classes.txt or objectInfo150.txt in `root`. Without any, classes are
            counted by reading all label files, once in a process, and called "class 0" ….
        ignore_label: value in label files of pixels that do not count; None: there is none.
        zero_is_ignored: 0 does not count and class 0 has the value 1; None: for ADE20K only.
        val_fraction: share of the pictures that is held out in a division, above 0, below 1; never none or all.
        seed: chooses which.

    Raises:
        ValueError: nothing to train on, pictures without label file, fewer than two classes, or an ignore label that
            is a class.
    """
    layout = find_scenes(root)
    if layout.training is None:
        raise ValueError(f"{layout.root} has images/{layout.held_out} but no images/training to train on")
    images = _opener(layout, classes_file, ignore_label, zero_is_ignored)
    train = images(layout.parts[layout.training].checked())
    if layout.held_out:
        return train, images(layout.parts[layout.held_out].checked())
    return _divide(train, val_fraction, seed)


def open_segmentation_held_out(
    root: str | os.PathLike[str],
    *,
    classes_file: str | os.PathLike[str] | None = None,
    ignore_label: int | None = 255,
    zero_is_ignored: bool | None = None,
    val_fraction: float | None = None,
    seed: int = 0,
    classes: Sequence[str] | None = None,
) -> tuple[SegmentationImages, str]:
    """What to evaluate on, and in words what that is.

    The validation part where there is one; else with `val_fraction` the share that training with the same
    `val_fraction` and `seed` held out, without it all of `root`. `classes` are the names where `root` has none, such
    as a checkpoint's. Other arguments as in :func:`open_segmentation`.

    Raises ValueError for what cannot be evaluated on, such as images/training alone: that is training's to divide.
    """
    layout = find_scenes(root)
    images = _opener(layout, classes_file, ignore_label, zero_is_ignored, classes)
    if layout.held_out:
        part = layout.parts[layout.held_out]
        return images(part.checked()), str(part.pictures)
    assert layout.training is not None  # a layout has at least one part
    part = layout.parts[layout.training]
    if val_fraction is not None:
        _, held_out = _divide(images(part.checked()), val_fraction, seed)
        return held_out, f"{root}: what training with val_fraction {val_fraction:g} and seed {seed} held out"
    if layout.training != WHOLE:
        raise ValueError(
            f"{layout.root} has images/{layout.training} but no images/validation; add --val-fraction 0.1, or whatever "
            "training was given (val_fraction in its train.json), to evaluate on the share that it held out"
        )
    return images(part.checked()), f"{root}: all in it, also those trained on, if any were"


def is_divided(root: str | os.PathLike[str]) -> bool:
    """Whether training holds out a share of `root` itself, since there is no validation part."""
    return not has_held_out(root)


def check_sizes(pair: Pair, picture: tuple[int, int], labels: tuple[int, int]) -> None:
    """Raises ImageError, naming both files, unless their sizes (width, height) are the same."""
    if picture == labels:
        return
    turned = (
        "; one of them is turned (pictures are put upright as their EXIF says, label maps as theirs)"
        if picture == labels[::-1]
        else ""
    )
    raise ImageError(
        f"cannot read labels {pair.labels}: {labels[0]}×{labels[1]} px, while the picture {pair.picture} has "
        f"{picture[0]}×{picture[1]}{turned}"
    )


def check_ignore_label(root: Path, classes: Sequence[str], ignore_label: int | None, zero_is_ignored: bool) -> None:
    """Raises ValueError where 255, the default, is a class; a smaller one may leave out a class on purpose."""
    if ignore_label == 255 and zero_is_ignored + len(classes) > 255:
        raise ValueError(
            f"{root}: with {len(classes)} classes 255 is one of them, {classes[255 - zero_is_ignored]!r}; give another "
            "ignore_label, such as 65535, or none"
        )


def _opener(
    layout: Layout,
    classes_file: str | os.PathLike[str] | None,
    ignore_label: int | None,
    zero_is_ignored: bool | None,
    usual: Sequence[str] | None = None,
) -> Callable[[Sequence[Pair]], SegmentationImages]:
    """What makes a data set of pairs, with the classes of all parts: those that have names, or else the usual ones."""
    zero = layout.is_ade if zero_is_ignored is None else zero_is_ignored
    names = read_class_names(layout, classes_file) or usual
    classes = generic_names(_count_classes(layout, ignore_label, zero)) if names is None else names
    if len(classes) < 2:
        raise ValueError(
            f"{layout.root}: only one class, {classes[0]!r}; segmentation needs at least two (the value {ignore_label} "
            "is ignored; `gcvit doctor segment` shows which values there are)"
        )
    check_ignore_label(layout.root, classes, ignore_label, zero)
    mapping = LabelMapping(len(classes), ignore_label, zero)
    return lambda pairs: SegmentationImages(layout.root, pairs, classes, mapping, named=names is not None)


def _divide(whole: SegmentationImages, val_fraction: float, seed: int) -> tuple[SegmentationImages, SegmentationImages]:
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction must be between 0 and 1, got {val_fraction}")
    if len(whole) == 1:
        raise ValueError(f"{whole.root} holds one picture, too few to train on some and hold out others; add some")
    count = min(max(round(len(whole) * val_fraction), 1), len(whole) - 1)
    held_out = np.zeros(len(whole), dtype=bool)
    held_out[permutation(len(whole), seed)[:count]] = True
    return whole.subset(np.flatnonzero(~held_out)), whole.subset(np.flatnonzero(held_out))


def _count_classes(layout: Layout, ignore_label: int | None, zero_is_ignored: bool) -> int:
    files = tuple(pair.labels for part in layout.parts.values() for pair in part.pairs)
    return _largest_label(files, tuple(file.stat().st_mtime_ns for file in files), ignore_label, zero_is_ignored) + 1


@lru_cache(maxsize=8)
def _largest_label(
    files: tuple[Path, ...], changed: tuple[int, ...], ignore_label: int | None, zero_is_ignored: bool
) -> int:
    """The largest label in the files; `changed`, when each was, is there for the cache.

    Raises ValueError where no pixel has a label.
    """
    if is_main():
        text = f"no classes' names, so all {len(files):,} label files are read to count the classes; a classes.txt in "
        text += "the folder, or a classes_file, saves that"
        warnings.warn(ClassesNote(text), stacklevel=2)
    mapping = LabelMapping(MOST_CLASSES, ignore_label, zero_is_ignored)
    largest = max((int(load_labels(file, mapping).max()) for file in files), default=IGNORED)
    if largest == IGNORED:
        raise ValueError(f"no pixel with a class in any of the {len(files):,} label files")
    return largest
