"""The images of a classifier: those to train on and those to evaluate on, with the same classes."""

import os
from functools import partial
from pathlib import Path

from gcvit.data.labelled import LabelledImages
from gcvit.data.parts import open_both, open_one
from gcvit.data.split_names import is_held_out
from gcvit.data.splits import Splits, find_splits
from gcvit.errors import UserError
from gcvit.wording import listed


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
    root, splits = Path(root), find_splits(root)
    if splits.training is None:
        beside = "an archive with train in its name beside it (give their folder)"
        where = root / "train" if root.is_dir() else beside
        raise UserError(
            f"{root} has {splits.held_out}/ but no class folders in train/; put the training images in {where}, one "
            "folder per class"
        )
    train, held_out = open_both(splits, partial(_read, splits), val_fraction, seed)
    train.remarks.add(splits.remarks())
    return train, held_out.with_classes(train.classes).checked()


def open_evaluation_images(
    root: str | os.PathLike[str], *, val_fraction: float | None = None, seed: int = 0
) -> tuple[LabelledImages, str]:
    """What to evaluate on, and in words what that is: the split val (or validation, valid, test), or what
    :func:`gcvit.data.parts.open_one` says. Raises UserError for what cannot be evaluated on.
    """
    root, splits = Path(root), find_splits(root)
    alone = f"{root} has {splits.training}/ but no class folders in val/ or test/"
    images, said = open_one(root, splits, partial(_read, splits), val_fraction, seed, alone)
    images.remarks.add(splits.remarks())
    return images.checked(), said or str(images.root if images.root != root else f"{root} ({splits.held_out})")


def is_divided(root: str | os.PathLike[str]) -> bool:
    """Whether training holds out a share of `root` itself, since there is no val/ or test/."""
    return not find_splits(root).held_out


def _read(splits: Splits, name: str) -> LabelledImages:
    """The images of a split, checked if they are to train on; their remarks name what is not used."""
    images = splits.parts[name]()
    if is_held_out(name) and splits.others:
        images.remarks.notes.append(f"{images.root}: held out is {name}/, and not {listed(splits.others)}")
    return images if is_held_out(name) else images.checked()
