"""ImageNet in miniature: the flat validation folder gets the labels that the devkit, or Kaggle's table, gives it."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gcvit.data.classify import open_class_folders, open_evaluation_images
from gcvit.data.imagenet import read_flat_validation

# The ids are not in the order of the names, and 4 is a group of classes, as in the real meta.mat.
SYNSETS = {1: "n02119789", 2: "n01440764", 3: "n03000001", 4: "n00001740"}
TRUTH = [3, 1, 1, 2, 3]
CLASSES = ["n01440764", "n02119789", "n03000001"]
LABELS = {1: 2, 2: 1, 3: 1, 4: 0, 5: 2}  # by the image's number, worked out by hand


def write(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(root / name, "JPEG")
    return root


def images(root: Path) -> Path:
    write(root, *(f"train/{wnid}/{wnid}_{i}.JPEG" for wnid in CLASSES for i in range(2)))
    return write(root, *(f"val/ILSVRC2012_val_{number:08d}.JPEG" for number in LABELS))


def devkit(root: Path) -> Path:
    savemat = pytest.importorskip("scipy.io").savemat
    folder = root / "ILSVRC2012_devkit_t12/data"
    folder.mkdir(parents=True)
    kind = [("ILSVRC2012_ID", object), ("WNID", object), ("words", object), ("num_children", object)]
    rows = [(number, wnid, "a name", 0 if number < 4 else 2) for number, wnid in SYNSETS.items()]
    savemat(folder / "meta.mat", {"synsets": np.array(rows, dtype=kind).reshape(-1, 1)})
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{number}\n" for number in TRUTH))
    return folder


def kaggle(root: Path) -> None:
    rows = [f"ILSVRC2012_val_{i:08d},{SYNSETS[TRUTH[i - 1]]} 1 2 3 4 {SYNSETS[2]} 1 2 3 4" for i in (4, 2, 5, 1, 3)]
    (root / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *rows, ""]))


def check(root: Path, val: Path) -> None:
    train, held_out = open_class_folders(root)
    assert train.classes == held_out.classes == CLASSES
    assert len(train) == 6
    labels = {int(path.stem[-8:]): label for path, label in held_out.samples}
    assert labels == LABELS
    assert [label for _, label in held_out.samples] == sorted(LABELS.values())
    evaluated, described = open_evaluation_images(root)
    assert evaluated.samples == held_out.samples
    assert described == str(val)


@pytest.mark.parametrize("beside", [False, True])
def test_the_devkits_labels(tmp_path, beside):
    root = images(tmp_path / "imagenet")
    devkit(tmp_path if beside else root)
    check(root, root / "val")


@pytest.mark.parametrize("given", ["", "ILSVRC", "ILSVRC/Data/CLS-LOC"])
def test_kaggles_archive(tmp_path, given):
    images(tmp_path / "ILSVRC/Data/CLS-LOC")
    kaggle(tmp_path)
    check(tmp_path / given, tmp_path / "ILSVRC/Data/CLS-LOC/val")


def test_the_flat_folder_alone_can_be_evaluated_on(tmp_path):
    kaggle(images(tmp_path))
    shutil.rmtree(tmp_path / "train")
    for left in (".thumbs", "@eaDir"):  # by a file manager, by a network disk
        (tmp_path / "val" / left).mkdir()
    by_folder, _ = open_evaluation_images(tmp_path / "val")
    assert (by_folder.classes, by_folder.counts()) == (CLASSES, [1, 2, 2])
    assert open_evaluation_images(tmp_path)[0].samples == by_folder.samples


def test_mistakes(tmp_path):
    root = images(tmp_path)
    with pytest.raises(ValueError, match=r"val holds ImageNet's validation images without labels; put .*devkit"):
        open_class_folders(root)
    folder = devkit(root)
    truth = folder / "ILSVRC2012_validation_ground_truth.txt"
    truth.write_text("1\n9\n")
    with pytest.raises(ValueError, match=r"ground_truth\.txt: 9 is not an id that meta\.mat knows"):
        open_class_folders(root)
    truth.write_text("1\n2\n3\n")
    with pytest.raises(ValueError, match=r"00000004\.JPEG: the validation labels found for .* do not name it"):
        read_flat_validation(root / "val")
    meta = folder / "meta.mat"
    whole = meta.read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2], whole[:130] + b"\0" * 9):
        meta.write_bytes(content)
        with pytest.raises(ValueError, match=r"meta\.mat: not the devkit's"):
            open_class_folders(root)
    meta.unlink()
    with pytest.raises(ValueError, match=r"meta\.mat: no such file"):
        open_class_folders(root)
    shutil.rmtree(folder.parent)
    for table in ("a,b\n1,2\n", "ImageId,PredictionString\nx,\n", "ImageId,PredictionString\nx_y,n0 1\n"):
        (root / "LOC_val_solution.csv").write_text(table)
        with pytest.raises(ValueError, match=r"LOC_val_solution\.csv: not Kaggle's table"):
            open_class_folders(root)


def test_without_scipy_the_extra_is_named(tmp_path, monkeypatch):
    devkit(images(tmp_path))
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(ValueError, match=r"-m pip install '\.\[imagenet\]'"):
        open_class_folders(tmp_path)
