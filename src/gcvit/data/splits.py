"""Which images a person's folder or archive holds, and which of them are for training and which are held out."""

import os
import re
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from gcvit.data.imagenet import image_folder, is_flat_validation, read_flat_validation
from gcvit.data.images import find_images
from gcvit.data.labelled import LabelledImages
from gcvit.data.members import Member
from gcvit.data.tars import images_in
from gcvit.distributed import is_main

TRAIN = "train"
HELD_OUT = ("val", "validation", "valid", "test")  # the first one there is evaluated on
WHOLE = "whole"  # neither: to be divided


class IndexNote(UserWarning):
    """Archives whose headers must be read because their index is missing, out of date or damaged."""


Located = tuple[tuple[str, ...], Member]  # an image with its path, from some folder on
Splits = dict[str, Callable[[], LabelledImages]]  # what reads the images, by one of these names


def find_splits(root: str | os.PathLike[str]) -> Splits:
    """What there is in `root`, not yet read where reading can wait.

    In this order: ROOT/train and ROOT/val (validation, valid, test) with class folders, where ImageNet's val may
    be flat; tar archives in ROOT, or ROOT as one, for train and what else they hold; class folders in ROOT itself.

    Raises ValueError for a folder or archive that holds no images in class folders.
    """
    root = Path(root)
    folder = image_folder(root)
    splits: Splits = {}
    for name in (TRAIN, *HELD_OUT):
        if is_flat_validation(folder / name):
            splits[name] = partial(read_flat_validation, folder / name)
        elif has_folders(folder / name):
            splits[name] = partial(read_class_folders, folder / name)
    if list(splits) == [TRAIN] and (folder / "val").is_dir():
        raise ValueError(f"{folder / 'val'}: no class folders in it; put the images in one folder per class")
    archives = find_archives(root)
    if archives and TRAIN not in splits:
        packed = read_archives(root, archives)
        if splits and WHOLE in packed:
            raise ValueError(
                f"{root} has {next(iter(splits))}/ beside {archives[0].name}, whose name tells neither train nor val; "
                f"rename the archive, or give it alone"
            )
        return splits | {name: partial(_as_they_are, images) for name, images in packed.items()}
    if not splits and is_flat_validation(root):
        return {WHOLE: partial(read_flat_validation, root)}
    return splits or {WHOLE: partial(read_class_folders, root)}


def read_class_folders(root: Path) -> LabelledImages:
    """Images in one folder per class, ROOT/CLASS/…/image, searched recursively.

    Hidden files and folders (with a leading dot), and files without an image's suffix (in any case), are left out.
    Linked folders are followed; each real folder counts once in its class.

    Raises ValueError where there is no folder, or no class folder in it, or one that cannot be read.
    """
    if not root.exists():
        raise ValueError(f"{root}: no such folder")
    try:
        classes = sorted(e.name for e in os.scandir(root) if e.is_dir() and not e.name.startswith("."))
    except OSError as error:
        raise ValueError(f"{root}: cannot be read: {error.strerror}") from error
    if not classes:
        raise ValueError(f"{root}: no class folders in it; put the images in one folder per class")
    samples = ((file, label) for label, name in enumerate(classes) for file in find_images(root / name))
    return LabelledImages(root, classes, samples)


def find_archives(root: Path) -> list[Path]:
    """The tar files in `root`, or `root` itself if it is a file; sorted, hidden ones left out."""
    if root.is_dir():
        return sorted(file for file in root.glob("*.tar") if file.is_file() and not file.name.startswith("."))
    return [root] if root.is_file() else []


def read_archives(root: Path, archives: Sequence[Path]) -> dict[str, LabelledImages]:
    """The images in tar archives by split; classes are the folders in them, the same as if they were unpacked.

    The split is the folder train/ or val/ (validation, valid, test) above the classes' folders, or the word in the
    archive's name. Other folders that all images of a split share are passed over.

    Raises ValueError for archives without images in folders, for one of no split while others have one, and for
    whatever :func:`gcvit.data.tars.scan` refuses.
    """
    named: dict[str, list[Located]] = {}
    troubles = []
    for archive in archives:
        members, trouble = images_in(archive)
        troubles += [trouble] if trouble else []
        named.setdefault(_split_word(archive), []).extend((tuple(m.name.split("/")), m) for m in members)
    if troubles and is_main():
        others = f" (and {len(troubles) - 1} more)" if len(troubles) > 1 else ""
        text = f"{troubles[0]}{others}, so all headers are read each time; `gcvit data index {root}` changes that"
        warnings.warn(IndexNote(text), stacklevel=2)
    splits: dict[str, list[Located]] = {}
    for word, images in named.items():
        for split, image in _below_shared_folders(images, word):
            splits.setdefault(split, []).append(image)
    if not splits:
        raise ValueError(f"{root}: no images in class folders; expected CLASS/image.jpg, below train/ and val/ or not")
    if WHOLE in splits and len(splits) > 1:
        stray = splits[WHOLE][0][1]
        raise ValueError(
            f"{stray.archive}: {stray.name} is neither for training nor held out; put train, val or test in the "
            "archive's name, or give one archive alone"
        )
    return {name: _labelled(root, splits[name]) for name in (TRAIN, *HELD_OUT, WHOLE) if name in splits}


def has_folders(folder: Path) -> bool:
    """Whether it may hold classes; a folder of images may itself be a class called "train" or "test"."""
    if not folder.is_dir():
        return False
    with os.scandir(folder) as entries:
        return any(entry.is_dir() and not entry.name.startswith(".") for entry in entries)


def _as_they_are(images: LabelledImages) -> LabelledImages:
    return images


def _split_word(archive: Path) -> str:
    """The split that the archive's name tells, such as train for cifar10-train-000.tar."""
    words = {"training": TRAIN}
    told = {words.get(word, word) for word in re.split(r"[^a-z]+", archive.stem.lower())}
    found = told & {TRAIN, *HELD_OUT}
    return found.pop() if len(found) == 1 else WHOLE


def _below_shared_folders(images: list[Located], split: str) -> list[tuple[str, Located]]:
    """Each image with its split and its path from the class's folder on."""
    while images := [(path, member) for path, member in images if len(path) > 1]:  # others are in no class's folder
        with_folders = {path[0] for path, _ in images if len(path) > 2}
        if splits := with_folders & {TRAIN, *HELD_OUT}:
            return [(path[0], (path[1:], member)) for path, member in images if path[0] in splits and len(path) > 2]
        if with_folders != {path[0] for path, _ in images} or len(with_folders) > 1:
            break
        images = [(path[1:], member) for path, member in images]
    return [(split, image) for image in images]


def _labelled(root: Path, images: list[Located]) -> LabelledImages:
    classes = sorted({path[0] for path, _ in images})
    place = {name: label for label, name in enumerate(classes)}
    return LabelledImages(root, classes, ((member, place[path[0]]) for path, member in sorted(images)))
