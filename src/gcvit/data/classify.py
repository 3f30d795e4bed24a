"""Images in class folders: ROOT/CLASS/…/image, or ROOT/train/CLASS and ROOT/val/CLASS."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch.utils.data import Dataset

from gcvit.data.images import find_images, load_image
from gcvit.data.sampling import permutation

EVALUATION_FOLDERS = ("val", "validation", "valid", "test")  # the first one there is taken

Transform = Callable[[Image.Image], Any]


class ClassFolders(Dataset):
    """Images in one folder per class, searched recursively; item i is (transform(image), label).

    Hidden files and folders, and files without an image's suffix (in any case), are left out. Linked folders
    are followed; each real folder counts once in its class.

    Args:
        root: the folder that holds the classes' folders.
        transform: called on the RGB PIL image; None gives the image itself.
        classes: names in the order of their labels, such as those of the training data; the folders must be
            just these. None takes the folders' names, sorted.

    Attributes:
        classes: names by label.
        samples: (path, label), sorted by class, then path.
        transform: may be replaced.

    Raises:
        ValueError: no such folder, no or one class, an empty class, or classes other than those asked for.
            Reading a damaged image raises :class:`gcvit.data.images.ImageError`, which names the file.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Transform | None = None,
        classes: Sequence[str] | None = None,
    ):
        self.root, self.transform = Path(root), transform
        names = _class_names(self.root)
        self.classes = names if classes is None else _checked(self.root, names, classes)
        self.samples: list[tuple[Path, int]] = []
        empty = []
        for label, name in enumerate(self.classes):
            files = find_images(self.root / name)
            self.samples += [(file, label) for file in files]
            if not files:
                empty.append(name)
        if empty:
            raise ValueError(f"{self.root}: no images in class {_listed(empty)}; add some, or remove the folder")

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        path, label = self.samples[index]
        image = load_image(path)
        return (image if self.transform is None else self.transform(image)), label

    def subset(self, indices: Sequence[int]) -> "ClassFolders":
        """The same classes with some of the samples."""
        part = object.__new__(ClassFolders)
        part.root, part.transform, part.classes = self.root, self.transform, self.classes
        part.samples = [self.samples[index] for index in indices]
        return part


def open_class_folders(
    root: str | os.PathLike[str],
    *,
    val_fraction: float = 0.1,
    seed: int = 0,
    train_transform: Transform | None = None,
    val_transform: Transform | None = None,
) -> tuple[ClassFolders, ClassFolders]:
    """The training and the validation images of ``root``, with the same classes.

    ROOT/train and ROOT/val (or validation, valid, test) where they are; otherwise ROOT/train, or ROOT itself,
    is divided: of every class the share ``val_fraction`` (in 0…1, at least one image, at most all but one) is
    held out, chosen by ``seed``.

    Raises:
        ValueError: whatever :class:`ClassFolders` refuses, validation classes that are not the training
            classes, a class of one image that would have to be divided, or val/ without train/.
    """
    root = Path(root)
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction must be between 0 and 1, got {val_fraction}")
    is_split, held_out = _has_folders(root / "train"), held_out_folder(root)
    if held_out and not is_split:
        raise ValueError(
            f"{root} has {held_out.name}/ but no class folders in train/; put the training images in "
            f"{root / 'train'}, one folder per class"
        )
    if is_split and not held_out and (root / "val").is_dir():
        raise ValueError(f"{root / 'val'}: no class folders in it; put the images in one folder per class")
    whole = ClassFolders(root / "train" if is_split else root)
    if held_out:
        train, val = whole, ClassFolders(held_out, classes=whole.classes)
    else:
        train, val = _divide(whole, val_fraction, seed)
    train.transform, val.transform = train_transform, val_transform
    return train, val


def evaluation_folder(root: str | os.PathLike[str]) -> Path:
    """Where the classes' folders for evaluation are: ROOT/val (validation, valid, test), else ROOT itself.

    Raises ValueError for ROOT/train alone: it is training's to divide.
    """
    root, held_out = Path(root), held_out_folder(root)
    if held_out is None and _has_folders(root / "train"):
        raise ValueError(
            f"{root} has train/ but no class folders in val/ or test/; add --val-fraction 0.1, or whatever training "
            f"was given (val_fraction in its train.json), to evaluate on the share that it held out"
        )
    return held_out or root


def held_out_folder(root: str | os.PathLike[str]) -> Path | None:
    """ROOT/val (validation, valid, test) if it has class folders; None where training divides ROOT itself."""
    return next((Path(root) / name for name in EVALUATION_FOLDERS if _has_folders(Path(root) / name)), None)


def _has_folders(folder: Path) -> bool:
    """Whether it may hold classes; a folder of images may itself be a class called "train" or "test"."""
    return folder.is_dir() and any(entry.is_dir() for entry in folder.iterdir())


def _divide(whole: ClassFolders, val_fraction: float, seed: int) -> tuple[ClassFolders, ClassFolders]:
    by_class: list[list[int]] = [[] for _ in whole.classes]
    for index, (_, label) in enumerate(whole.samples):
        by_class[label].append(index)
    train: list[int] = []
    val: list[int] = []
    for label, indices in enumerate(by_class):
        if len(indices) == 1:
            raise ValueError(
                f"{whole.root / whole.classes[label]} holds one image, too few to train on some and hold "
                "out others; add images, or give the data its own val/ folder"
            )
        held_out = min(max(round(len(indices) * val_fraction), 1), len(indices) - 1)
        chosen = set(permutation(len(indices), seed, label)[:held_out].tolist())
        for position, index in enumerate(indices):
            (val if position in chosen else train).append(index)
    return whole.subset(train), whole.subset(val)


def _class_names(root: Path) -> list[str]:
    if not root.exists():
        raise ValueError(f"{root}: no such folder")
    if not root.is_dir():
        raise ValueError(f"{root} is a file; give the folder that holds one folder per class")
    try:
        names = sorted(e.name for e in os.scandir(root) if e.is_dir() and not e.name.startswith("."))
    except OSError as error:
        raise ValueError(f"{root}: cannot be read: {error.strerror}") from error
    if not names:
        raise ValueError(f"{root}: no class folders in it; put the images in one folder per class")
    if len(names) == 1:
        raise ValueError(f"{root}: only one class, {names[0]!r}; a classifier needs at least two folders")
    return names


def _checked(root: Path, names: list[str], classes: Sequence[str]) -> list[str]:
    extra, missing = sorted(set(names) - set(classes)), sorted(set(classes) - set(names))
    if extra or missing:
        differences = [f"only here: {_listed(extra)}"] if extra else []
        differences += [f"missing here: {_listed(missing)}"] if missing else []
        raise ValueError(
            f"{root}: its class folders are not the expected {len(classes)} classes; {'; '.join(differences)}"
        )
    return list(classes)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")
