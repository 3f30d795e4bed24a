"""Pictures with label maps as they lie on a disk: recognised, paired, divided, and named where something is missing."""

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gcvit.data.images import ImageError
from gcvit.data.label_maps import IGNORED
from gcvit.data.segment import ClassesNote, is_divided, open_segmentation, open_segmentation_held_out
from gcvit.data.segment_folders import find_scenes
from gcvit.data.settings import LabelReading
from gcvit.errors import UserError

NOISE = np.random.default_rng(0)


def picture(path: Path, size: tuple[int, int] = (6, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(NOISE.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(path)


def label_map(path: Path, values: list[int], size: tuple[int, int] = (6, 4)) -> None:
    """The values in turn."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.resize(np.array(values, dtype=np.uint8), (size[1], size[0]))).save(path)


def scenes(
    root: Path, parts: dict[str, int], labels: str = "annotations", values: tuple[int, ...] = (0, 1, 2, 255)
) -> Path:
    """Pictures 0.png … by part; "" for folders without parts."""
    for part, count in parts.items():
        for index in range(count):
            picture(root / "images" / part / f"{index}.png")
            label_map(root / labels / part / f"{index}.png", list(values))
    return root


def named(root: Path, names: str = "road\nsky\ntree\n") -> Path:
    (root / "classes.txt").write_text(names, "utf8")
    return root


@pytest.mark.parametrize("how", ["the folder's name", "the folder in it", "its table"])
def test_ade20k_is_recognised_and_its_labels_are_shifted(tmp_path, how):
    root = tmp_path / ("ADEChallengeData2016" if how != "its table" else "mine")
    scenes(root, {"training": 2, "validation": 1}, values=(0, 1, 2, 150))
    if how == "its table":
        rows = [f"{n}\t0.1\t1\t2\tthing {n}, object {n}" for n in range(1, 151)]
        (root / "objectInfo150.txt").write_text("Idx\tRatio\tTrain\tVal\tName\n" + "\n".join(rows) + "\n")
    train, held_out = open_segmentation(tmp_path if how == "the folder in it" else root)
    assert (len(train), len(held_out), len(train.classes)) == (2, 1, 150)
    assert train.classes[149] == ("thing 150" if how == "its table" else "class 149")
    assert sorted(set(train[0][1].ravel().tolist())) == [IGNORED, 0, 1, 149]
    assert train[0][1][0, 0] == IGNORED  # not 255, nor 254


def test_zero_may_be_ignored_elsewhere_and_count_in_ade20k(tmp_path):
    root = named(scenes(tmp_path / "a", {"training": 1, "validation": 1}, values=(0, 1, 2, 3)))
    with pytest.raises(ImageError, match="unknown values 3"):
        open_segmentation(root)[0][0]
    assert open_segmentation(root, LabelReading(zero_is_ignored=True))[0][0][1][0, :4].tolist() == [IGNORED, 0, 1, 2]
    ade = named(scenes(tmp_path / "ADEChallengeData2016", {"training": 1, "validation": 1}))
    assert open_segmentation(ade, LabelReading(zero_is_ignored=False))[0][0][1][0, :4].tolist() == [0, 1, 2, IGNORED]


@pytest.mark.parametrize("labels", ["annotations", "labels", "masks"])
@pytest.mark.parametrize(("train", "val"), [("training", "validation"), ("train", "val"), ("train", "test")])
def test_ordinary_pairs(tmp_path, labels, train, val):
    root = named(scenes(tmp_path, {train: 3, val: 2}, labels))
    found, held_out = open_segmentation(root)
    assert (len(found), len(held_out)) == (3, 2)
    assert found.classes == held_out.classes == ["road", "sky", "tree"]
    assert len(found.palette) == 3
    image, values = found[1]
    assert (image.mode, image.size) == ("RGB", (6, 4))
    assert (values.dtype, values[0].tolist()) == (np.int16, [0, 1, 2, IGNORED, 0, 1])
    assert found.name(1) == str(root / "images" / train / "1.png")
    assert not is_divided(root)
    again, words = open_segmentation_held_out(root)
    assert (again.samples, words) == (held_out.samples, str(root / "images" / val))


def test_pictures_pair_by_their_path_whatever_their_suffix(tmp_path):
    for folder in ("a", "b"):
        picture(tmp_path / "images" / folder / "1.JPG")
        label_map(tmp_path / "labels" / folder / "1.tif", [0, 1] if folder == "a" else [1, 2])
    found = find_scenes(tmp_path).parts["whole"].pairs
    assert [(p.picture.parent.name, p.labels.parent.name) for p in found] == [("a", "a"), ("b", "b")]


def test_a_flat_folder_is_divided_reproducibly(tmp_path):
    root = named(scenes(tmp_path, {"": 20}))
    assert is_divided(root)
    train, held_out = open_segmentation(root, val_fraction=0.25, seed=3)
    assert (len(train), len(held_out)) == (15, 5)
    assert set(train.samples) | set(held_out.samples) == set(find_scenes(root).parts["whole"].pairs)
    random.seed(1)
    assert open_segmentation(root, val_fraction=0.25, seed=3)[1].samples == held_out.samples
    assert open_segmentation(root, val_fraction=0.25, seed=4)[1].samples != held_out.samples
    again, words = open_segmentation_held_out(root, val_fraction=0.25, seed=3)
    assert again.samples == held_out.samples
    assert "val_fraction 0.25 and seed 3 held out" in words
    everything, words = open_segmentation_held_out(root)
    assert len(everything) == 20
    assert "all in it" in words
    for fraction, least in ((0.001, 1), (0.999, 19)):  # never none or all
        assert len(open_segmentation(root, val_fraction=fraction)[1]) == least
    with pytest.raises(ValueError, match="val_fraction must be between 0 and 1"):
        open_segmentation(root, val_fraction=1.0)


def test_one_sided_folders(tmp_path):
    held_out = named(scenes(tmp_path / "a", {"validation": 2}))
    with pytest.raises(ValueError, match="no images/training to train on"):
        open_segmentation(held_out)
    assert len(open_segmentation_held_out(held_out)[0]) == 2
    train = named(scenes(tmp_path / "b", {"training": 4}))
    assert [len(part) for part in open_segmentation(train, val_fraction=0.5)] == [2, 2]
    with pytest.raises(ValueError, match="add --val-fraction"):
        open_segmentation_held_out(train)
    one = named(scenes(tmp_path / "c", {"": 1}))
    with pytest.raises(ValueError, match="holds one picture"):
        open_segmentation(one)


def test_missing_partners_are_named(tmp_path):
    root = named(scenes(tmp_path, {"": 9}))
    for index in range(1, 8):
        (root / f"annotations/{index}.png").unlink()
    with pytest.raises(ValueError, match=r"no label file \(.*\.png.*\) for 1\.png, 2\.png, .* and 2 more; add them"):
        open_segmentation(root)
    for index in range(1, 8):
        (root / f"images/{index}.png").unlink()
    (root / "images/0.png").unlink()
    label_map(root / "annotations/9.png", [0])
    picture(root / "images/9.png")
    assert len(open_segmentation(root, val_fraction=0.5)[0]) == 1  # labels alone do no harm
    part = find_scenes(root).parts["whole"]
    assert [file.name for file in part.without_picture] == ["0.png"]
    picture(root / "images/9.jpg")
    with pytest.raises(ValueError, match=r"the same name twice, 9\.jpg, 9\.png; remove one"):
        open_segmentation(root)


def test_sizes_must_agree(tmp_path):
    root = named(scenes(tmp_path, {"training": 2, "validation": 1}))
    label_map(root / "annotations/training/0.png", [0, 1], (6, 5))
    label_map(root / "annotations/training/1.png", [0, 1], (4, 6))
    train, _ = open_segmentation(root)
    with pytest.raises(ImageError) as error:
        train[0]
    assert f"cannot read labels {root}/annotations/training/0.png: 6×5 px, while the picture" in str(error.value)
    assert f"{root}/images/training/0.png has 6×4" in str(error.value)
    with pytest.raises(ImageError, match=r"4×6 px, .* has 6×4; one of them is turned"):
        train[1]


def test_class_names(tmp_path):
    root = scenes(tmp_path / "data", {"training": 2, "validation": 1})
    (tmp_path / "names.txt").write_text("\ufeffa road\nthe sky\na tree\n\n", "utf8")
    train, _ = open_segmentation(root, LabelReading(str(tmp_path / "names.txt")))
    assert train.classes == ["a road", "the sky", "a tree"]
    named(root)
    assert open_segmentation(root)[0].classes == ["road", "sky", "tree"]
    for text, message in (
        ("", "no names in it"),
        ("a\n\nb\n", "line 2 is empty"),
        ("a\nb\na\n", "'a' stands in it twice"),
        ("one\n", "only one class, 'one'"),
        ("\n".join(map(str, range(256))), "with 256 classes 255 is one of them, '255'"),
    ):
        (tmp_path / "names.txt").write_text(text)
        with pytest.raises(ValueError, match=message):
            open_segmentation(root, LabelReading(str(tmp_path / "names.txt")))
    (tmp_path / "names.txt").write_bytes(b"\xff\xfe\xe9")
    for file, message in (("names.txt", "no valid text"), ("none.txt", "cannot read the classes' names: No such file")):
        with pytest.raises(ValueError, match=message):
            open_segmentation(root, LabelReading(str(tmp_path / file)))


def test_classes_are_counted_where_nothing_names_them(tmp_path):
    root = scenes(tmp_path, {"training": 2, "validation": 1})
    label_map(root / "annotations/validation/0.png", [0, 4, 255])
    with pytest.warns(ClassesNote, match="all 3 label files are read"):
        train, held_out = open_segmentation(root)
    assert train.classes == held_out.classes == [f"class {label}" for label in range(5)]
    label_map(root / "annotations/validation/0.png", [0, 11])
    with pytest.warns(ClassesNote):
        assert (
            len(open_segmentation(root, LabelReading(ignore_label=11))[0].classes) == 256
        )  # 255 was a class all along
    for part, index in (("training", 0), ("training", 1), ("validation", 0)):
        label_map(root / f"annotations/{part}/{index}.png", [255])
    with pytest.warns(ClassesNote), pytest.raises(ValueError, match="no pixel with a class in any of the 3 label"):
        open_segmentation(root)


def test_folders_that_are_not_there(tmp_path):
    written = tmp_path / "photos.zip"
    written.write_bytes(b"PK")
    with pytest.raises(ValueError, match="no such folder"):
        open_segmentation(tmp_path / "none")
    with pytest.raises(UserError, match=r"photos\.zip: a file; give a folder, unpacked"):
        open_segmentation(written)
    picture(tmp_path / "images/training/0.png")
    with pytest.raises(ValueError, match=r"expected the pictures in images/ and their label files in annotations"):
        open_segmentation(tmp_path)
    label_map(tmp_path / "labels/validation/0.png", [0])
    with pytest.raises(ValueError, match=r"labels: no folder training/ in it"):
        open_segmentation(tmp_path)
    (tmp_path / "empty/images").mkdir(parents=True)
    (tmp_path / "empty/labels").mkdir()
    with pytest.raises(ValueError, match="no pictures in it"):
        open_segmentation(named(tmp_path / "empty"))


def test_parts_are_never_paired_with_the_labels_of_others(tmp_path):
    """A test part is without labels in most sets; they are not those of the validation part."""
    root = named(scenes(tmp_path / "a", {"train": 2, "val": 1, "test": 1}))
    for file in (root / "annotations" / "test").iterdir():
        file.unlink()
    (root / "annotations" / "test").rmdir()
    assert list(find_scenes(root).parts) == ["train", "val"]
    _, held_out = open_segmentation(root)
    assert [Path(held_out.name(0)).parent.name, len(held_out)] == ["val", 1]
    (root / "annotations" / "val").rename(root / "annotations" / "test")
    with pytest.raises(ValueError, match=r"no folder val/ in it.*add the labels, or move these pictures away"):
        find_scenes(root)


def test_labels_may_call_a_part_by_another_name(tmp_path):
    root = named(scenes(tmp_path / "a", {"training": 2, "validation": 1}))
    (root / "annotations" / "training").rename(root / "annotations" / "train")
    (root / "annotations" / "validation").rename(root / "annotations" / "val")
    assert [len(part) for part in open_segmentation(root)] == [2, 1]
