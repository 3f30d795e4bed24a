"""The images of a classifier: those to train on and those to evaluate on, with the same classes."""

import os
from pathlib import Path

import numpy as np

from gcvit.data.labelled import LabelledImages
from gcvit.data.sampling import permutation
from gcvit.data.splits import HELD_OUT, TRAIN, WHOLE, Splits, find_splits


def open_class_folders(
    root: str | os.PathLike[str], *, val_fraction: float = 0.1, seed: int = 0
) -> tuple[LabelledImages, LabelledImages]:
    """The training and the held-out images of `root`, with the same classes.

    `root` has train/ and val/ (or validation, valid, test), or class folders itself; it may be a tar archive, a
    folder of these, or ImageNet as it comes (see :func:`gcvit.data.splits.find_splits`). Without val/ the training
    images are divided: of every class the share `val_fraction` (in 0…1, at least one image, at most all but one)
    is held out, chosen by `seed`.

    Raises:
        ValueError: nothing to train on, no or one class, an empty class, held-out classes that are not the
            training classes, a class of one image that would have to be divided, or val/ without train/.
    """
    root = Path(root)
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction must be between 0 and 1, got {val_fraction}")
    splits = find_splits(root)
    held_out = _held_out(splits)
    if held_out and TRAIN not in splits:
        raise ValueError(
            f"{root} has {held_out}/ but no class folders in train/; put the training images in "
            f"{root / 'train'}, one folder per class"
        )
    train = splits[TRAIN if TRAIN in splits else WHOLE]().checked()
    if held_out:
        return train, splits[held_out]().with_classes(train.classes).checked()
    return _divide(train, val_fraction, seed)


def open_evaluation_images(
    root: str | os.PathLike[str], *, val_fraction: float | None = None, seed: int = 0
) -> tuple[LabelledImages, str]:
    """What to evaluate on, and in words what that is.

    The split val (or validation, valid, test) where there is one; else with `val_fraction` the share that training
    with the same `val_fraction` and `seed` held out, without it all of `root`.

    Raises ValueError for what cannot be evaluated on, such as ROOT/train alone: that is training's to divide.
    """
    root = Path(root)
    splits = find_splits(root)
    held_out = _held_out(splits)
    if held_out:
        images = splits[held_out]().checked()
        return images, str(images.root if images.root != root else f"{root} ({held_out})")
    if val_fraction is not None:
        _, images = open_class_folders(root, val_fraction=val_fraction, seed=seed)
        return images, f"{root}: what training with val_fraction {val_fraction:g} and seed {seed} held out"
    if TRAIN in splits:
        raise ValueError(
            f"{root} has train/ but no class folders in val/ or test/; add --val-fraction 0.1, or whatever training "
            f"was given (val_fraction in its train.json), to evaluate on the share that it held out"
        )
    return splits[WHOLE]().checked(), f"{root}: all in it, also those that the model was trained on, if it was"


def is_divided(root: str | os.PathLike[str]) -> bool:
    """Whether training holds out a share of `root` itself, since there is no val/ or test/."""
    return _held_out(find_splits(root)) is None


def _held_out(splits: Splits) -> str | None:
    return next((name for name in HELD_OUT if name in splits), None)


def _divide(whole: LabelledImages, val_fraction: float, seed: int) -> tuple[LabelledImages, LabelledImages]:
    is_held_out = np.zeros(len(whole), dtype=bool)
    bounds = np.searchsorted(whole.samples.labels, np.arange(len(whole.classes) + 1))  # they are sorted by class
    for label, name in enumerate(whole.classes):
        first, count = bounds[label], int(bounds[label + 1] - bounds[label])
        if count == 1:
            raise ValueError(
                f"{whole.root / name} holds one image, too few to train on some and hold "
                "out others; add images, or give the data its own val/ folder"
            )
        held_out = min(max(round(count * val_fraction), 1), count - 1)
        is_held_out[first + permutation(count, seed, label)[:held_out]] = True
    return whole.subset(np.flatnonzero(~is_held_out)), whole.subset(np.flatnonzero(is_held_out))
