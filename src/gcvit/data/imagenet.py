"""ImageNet's validation images as they come: one flat folder, its labels in the devkit or in Kaggle's table."""

import csv
import os
import re
import zlib
from pathlib import Path
from typing import Any

from gcvit.data.labelled import LabelledImages
from gcvit.data.remarks import Remarks, is_seen
from gcvit.errors import UserError
from gcvit.shell import install

_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG", re.IGNORECASE)
_OWN = re.compile(r"ILSVRC2012_(devkit.*|validation_ground_truth\.txt)|meta\.mat|LOC_\w+\.(csv|txt)")
_KAGGLE = "LOC_val_solution.csv"
_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
# What scipy lets through on damaged files.
_MAT_ERRORS = (LookupError, ValueError, TypeError, AttributeError, NotImplementedError, OSError, EOFError, zlib.error)
_LEVELS = 5  # Kaggle's table lies four folders above the first image: ROOT/ILSVRC/Data/CLS-LOC/val


def image_folder(root: Path) -> Path:
    """The folder with train/ and val/: `root`, or where Kaggle's archive has it, ROOT/[ILSVRC/]Data/CLS-LOC."""
    inside = (root / "Data/CLS-LOC", root / "ILSVRC/Data/CLS-LOC")
    return next((folder for folder in inside if folder.is_dir()), root)


def own_files(folder: Path) -> set[str]:
    """The names of what comes with the images, such as the devkit."""
    return {entry.name for entry in os.scandir(folder) if _OWN.fullmatch(entry.name)}


def is_flat_validation(folder: Path) -> bool:
    """Whether ImageNet's validation images lie in `folder` itself."""
    return folder.is_dir() and any(_NAME.fullmatch(entry.name) for entry in os.scandir(folder))


def read_flat_validation(folder: Path) -> LabelledImages:
    """The images ILSVRC2012_val_00000001.JPEG … in `folder`; classes are WordNet ids (n01440764), sorted.

    The labels are looked for in `folder` and the folders above it: LOC_val_solution.csv, or
    ILSVRC2012_devkit_t12/data with its ground truth and meta.mat.

    Raises UserError when they are not found, do not cover the images or cannot be read.
    """
    wnids = _find_labels(folder)
    remarks, files = Remarks(), dict[Path, int]()
    for file in sorted(folder.iterdir()):
        if name := _NAME.fullmatch(file.name):
            files[file] = int(name[1])
        elif is_seen(file.name) and file.is_file() and not _OWN.fullmatch(file.name):
            remarks.pass_over(file)
    unlabelled = [file for file, number in files.items() if number not in wnids]
    if unlabelled:
        raise UserError(f"{unlabelled[0]}: the validation labels found for {folder} do not name it")
    named = sorted((wnids[number], file) for file, number in files.items())
    classes = sorted({wnid for wnid, _ in named})
    place = {wnid: label for label, wnid in enumerate(classes)}
    return LabelledImages(folder, classes, [(file, place[wnid]) for wnid, file in named], remarks)


def _find_labels(folder: Path) -> dict[int, str]:
    """WordNet ids by the images' numbers."""
    start = Path(os.path.abspath(folder))  # links stay: the labels lie where the user has put the folder
    for place in [start, *start.parents][:_LEVELS]:
        if (place / _KAGGLE).is_file():
            return _read_kaggle(place / _KAGGLE)
        for truth in [place / _TRUTH, *sorted(place.glob(f"ILSVRC2012_devkit*/data/{_TRUTH}"))]:
            if truth.is_file():
                return _read_devkit(truth, truth.with_name("meta.mat"))
    raise UserError(
        f"{folder} holds ImageNet's validation images without labels; put the unpacked ILSVRC2012_devkit_t12 or "
        f"Kaggle's {_KAGGLE} beside it, or move the images into one folder per class"
    )


def _read_kaggle(table: Path) -> dict[int, str]:
    """Rows are ILSVRC2012_val_00048981,"n03995372 85 1 499 272 …": an id and a box, for every object."""
    wnids = {}
    try:
        with table.open(newline="", encoding="utf8") as file:
            for row in csv.DictReader(file):
                wnids[int(row["ImageId"].rpartition("_")[2])] = row["PredictionString"].split()[0]
    except (KeyError, IndexError, ValueError, AttributeError, TypeError, csv.Error) as error:
        raise UserError(f"{table}: not Kaggle's table with ImageId and PredictionString ({error!r})") from error
    return wnids


def _read_devkit(truth: Path, meta: Path) -> dict[int, str]:
    """Line n of the ground truth is the ILSVRC2012_ID of image n; meta.mat says which WordNet id that is."""
    synsets = _read_synsets(meta)
    try:
        return {number: synsets[int(line)] for number, line in enumerate(truth.read_text().split(), start=1)}
    except (KeyError, ValueError) as error:
        raise UserError(f"{truth}: {error} is not an id that {meta.name} knows; unpack the devkit anew") from error


def _read_synsets(meta: Path) -> dict[int, str]:
    """WordNet ids by ILSVRC2012_ID."""
    if not meta.is_file():
        raise UserError(f"{meta}: no such file; unpack all of the devkit")
    try:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError
    except ImportError as error:
        raise UserError(f"{meta}: reading it takes scipy, which is not installed; {install('imagenet')}") from error
    try:
        synsets: Any = loadmat(meta, squeeze_me=True)["synsets"]
        return {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets.flat}
    except (MatReadError, *_MAT_ERRORS) as error:
        raise UserError(f"{meta}: not the devkit's meta.mat, or damaged ({error}); unpack the devkit anew") from error
