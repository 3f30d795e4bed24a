"""Class folders: what counts as an image, how one folder is divided, and every mistake's message."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from gcvit.data.augment import eval_transform
from gcvit.data.classify import is_divided, open_class_folders, open_evaluation_images
from gcvit.data.images import ImageError
from gcvit.data.labelled import LabelledImages
from gcvit.data.splits import find_splits
from gcvit.tasks.train import Varied


def write(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 5), (len(name), 0, 0)).save(root / name)
    return root


def relative(data: LabelledImages) -> list[tuple[str, int]]:
    return [(path.relative_to(data.root).as_posix(), label) for path, label in data.samples]


def read_class_folders(root):
    (read,) = find_splits(root).parts.values()
    return read()


def test_what_counts(tmp_path):
    write(tmp_path, "dog/b.PNG", "dog/a.jpg", "dog/more/c.webp", "été blanc/x y.png", "cat/.hidden.png")
    write(tmp_path, "cat/1.png", ".cache/x.png", "loose.png", "dog/.more/d.png")
    (tmp_path / "cat/notes.txt").write_text("no image")
    (tmp_path / "dog/more/loop").symlink_to(tmp_path / "dog")
    (tmp_path / "linked").symlink_to(tmp_path / "cat")
    data = read_class_folders(tmp_path)
    assert data.classes == ["cat", "dog", "linked", "été blanc"]
    assert relative(data) == [
        ("cat/1.png", 0),
        ("dog/a.jpg", 1),
        ("dog/b.PNG", 1),
        ("dog/more/c.webp", 1),
        ("linked/1.png", 2),
        ("été blanc/x y.png", 3),
    ]
    assert len(data) == 6
    image, label = data[5]
    assert (image.size, label, data.label(5)) == ((6, 5), 3, 3)
    assert data.name(5) == str(tmp_path / "été blanc/x y.png")
    assert data.counts() == [1, 3, 1, 1]


def test_classes_give_the_order_of_labels(tmp_path):
    write(tmp_path, "a/1.png", "b/1.png", "c/1.png")
    assert relative(read_class_folders(tmp_path).with_classes(["c", "a", "b"])) == [
        ("c/1.png", 0),
        ("a/1.png", 1),
        ("b/1.png", 2),
    ]


@pytest.mark.parametrize("held_out", ["val", "validation", "valid", "test"])
def test_train_and_val_folders(tmp_path, held_out):
    write(tmp_path, "train/a/1.png", "train/b/1.png", "train/b/2.png", f"{held_out}/a/3.png", f"{held_out}/b/4.png")
    train, val = open_class_folders(tmp_path)
    assert (len(train), len(val)) == (3, 2)
    assert train.classes == val.classes == ["a", "b"]
    images, described = open_evaluation_images(tmp_path, val_fraction=0.5)
    assert images.samples == val.samples
    assert described == str(tmp_path / held_out)
    assert not is_divided(tmp_path)


@pytest.mark.parametrize("inside", ["", "train/"])
def test_one_folder_is_divided_by_class(tmp_path, inside):
    write(tmp_path, *(f"{inside}a/{i}.png" for i in range(20)), *(f"{inside}b/{i}.png" for i in range(3)))
    train, val = open_class_folders(tmp_path, val_fraction=0.25)
    assert [label for _, label in val.samples] == [0] * 5 + [1]
    assert not set(train.samples) & set(val.samples)
    assert sorted([*train.samples, *val.samples]) == sorted(read_class_folders(tmp_path / inside).samples)
    assert open_class_folders(tmp_path, val_fraction=0.25)[1].samples == val.samples
    assert open_class_folders(tmp_path, val_fraction=0.25, seed=1)[1].samples != val.samples
    assert is_divided(tmp_path)
    assert open_evaluation_images(tmp_path, val_fraction=0.25)[0].samples == val.samples
    if inside:
        with pytest.raises(ValueError, match=f"{tmp_path.name} has train/ but no .* add --val-fraction"):
            open_evaluation_images(tmp_path)
    else:
        images, described = open_evaluation_images(tmp_path)
        assert len(images) == 23
        assert "also those that the model was trained on" in described


@settings(max_examples=20)
@given(st.integers(2, 9), st.integers(2, 9), st.floats(0.01, 0.99), st.integers(0, 100))
def test_every_class_is_on_both_sides(tmp_path_factory, first, second, fraction, seed):
    root = tmp_path_factory.mktemp("divided")
    for name, count in (("a", first), ("b", second)):
        (root / name).mkdir()
        for index in range(count):
            (root / name / f"{index}.png").touch()
    train, val = open_class_folders(root, val_fraction=fraction, seed=seed)
    assert {label for _, label in train.samples} == {label for _, label in val.samples} == {0, 1}
    assert len(train) + len(val) == first + second


def test_a_class_may_be_called_train(tmp_path):
    write(tmp_path, "train/1.png", "train/2.png", "test/1.png", "test/2.png", "car/1.png", "car/2.png")
    train, val = open_class_folders(tmp_path)
    assert train.classes == ["car", "test", "train"]
    assert (len(train), len(val)) == (3, 3)


MISTAKES = {
    "no such folder": [],
    "no class folders in it": ["loose.png"],
    "only one class, 'a'": ["a/1.png", "a/2.png"],
    "no images in class 'c'": ["a/1.png", "b/1.png", "c/.hidden.png"],
    "holds one image": ["a/1.png", "b/1.png", "b/2.png"],
    "val: its class folders are not .* only here: 'c'": [
        *("train/a/1.png", "train/b/1.png"),
        *("val/a/1.png", "val/b/1.png", "val/c/1.png"),
    ],
    "val: .* missing here: 'b'": ["train/a/1.png", "train/b/1.png", "val/a/1.png", "val/c/1.png"],
    "val: no images in class 'b'": ["train/a/1.png", "train/b/1.png", "val/a/1.png", "val/b/.1.png"],
    "no class folders in train/": ["val/a/1.png", "val/b/1.png"],
    "val: no class folders in it": ["train/a/1.png", "train/b/1.png", "val/1.png"],
}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes(tmp_path, message):
    root = write(tmp_path / "data", *MISTAKES[message])
    with pytest.raises(ValueError, match=message) as caught:
        open_class_folders(root)
    assert str(root) in str(caught.value)


def test_more_mistakes(tmp_path):
    (tmp_path / "data.tar").touch()
    with pytest.raises(ValueError, match=r"data\.tar: not a tar archive"):
        open_class_folders(tmp_path / "data.tar")
    write(tmp_path / "many", *(f"{i}/1.png" for i in range(9)))
    with pytest.raises(ValueError, match="val_fraction must be between 0 and 1"):
        open_class_folders(tmp_path / "many", val_fraction=1.0)
    with pytest.raises(ValueError, match="'5' and 3 more; missing here: 'cat', 'dog'"):
        read_class_folders(tmp_path / "many").with_classes(["0", "dog", "cat"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read(tmp_path):
    write(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "a").chmod(0)
    with pytest.raises(ValueError, match="a: cannot be read: Permission denied"):
        read_class_folders(tmp_path)
    (tmp_path / "a").chmod(0o700)


def prepared(image: Image.Image, label: int) -> tuple[torch.Tensor, int]:
    return eval_transform(size=32)(image), label


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_within_an_epoch_is_named_in_one_line(tmp_path, workers):
    write(tmp_path, *(f"{name}/{index}.png" for name in "ab" for index in range(5)))
    broken = tmp_path / "a/3.png"
    broken.write_bytes(broken.read_bytes()[:40])
    data = Varied(read_class_folders(tmp_path), prepared)
    batches = iter(DataLoader(data, batch_size=1, num_workers=workers))
    assert all(next(batches)[0].dtype == torch.float32 for _ in range(3))
    with pytest.raises(ImageError) as caught:
        next(batches)
    assert str(caught.value).startswith(f"cannot read image {broken}: ")
    assert "\n" not in str(caught.value)
