"""Class folders in tar archives are the same images as unpacked, however they are packed."""

import os
import random
import re
import tarfile
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gcvit.data.classify import is_divided, open_class_folders, open_evaluation_images
from gcvit.data.labelled import LabelledImages
from gcvit.data.remarks import is_seen
from gcvit.data.split_names import split_name
from gcvit.data.splits import IndexNote, find_splits
from gcvit.data.tars import write_index
from gcvit.shell import typed
from gcvit.wording import composed, is_harmless

pytestmark = pytest.mark.filterwarnings("ignore::gcvit.data.splits.IndexNote")

CLASSES = ("cat", "dog", "été blanc")


def pack(path: Path, *names: str) -> Path:
    """An archive of empty files: where they are is all that matters here."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name))
    return path


def below(images: LabelledImages) -> list[tuple[str, str]]:
    """Class and path from there on, in order."""
    found = []
    for source, label in images.samples:
        name = images.classes[label]
        path = str(source) if isinstance(source, Path) else source.name
        found.append((name, f"/{path}".rpartition(f"/{name}/")[2]))
    return found


IMAGES = [*(f"cat/{i}.png" for i in range(4)), "cat/a/1.png", "cat/a.png", "cat/B.PNG", "dog/1.png", "dog/2.png"]
IMAGES += ["été blanc/1.png", "été blanc/é/x y.png", "été blanc/z.jpg"]

SHARDINGS = {
    "one archive": lambda root, images: [pack(root / "all.tar", *images)],
    "one folder above": lambda root, images: [pack(root / "all.tar", *(f"./photos/set/{name}" for name in images))],
    "shards": lambda root, images: [pack(root / f"part-{n}.tar", *images[n::3]) for n in range(3)],
    "loose files": lambda root, images: [pack(root / "all.tar", "cover.png", ".DS_Store/x/1.png", *images)],
}


@pytest.mark.parametrize("sharding", SHARDINGS)
@pytest.mark.parametrize("indexed", [False, True])
def test_an_undivided_set_is_the_same_packed_and_unpacked(tmp_path, sharding, indexed):
    for name in IMAGES:
        (tmp_path / "folders" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folders" / name).touch()
    shuffled = random.Random(0).sample(IMAGES, len(IMAGES))
    archives = SHARDINGS[sharding](tmp_path / "packed", shuffled)
    if indexed:
        for archive in archives:
            write_index(archive)
    expected = open_class_folders(tmp_path / "folders", val_fraction=0.3, seed=4)
    for path in [tmp_path / "packed", *(archives if len(archives) == 1 else [])]:
        found = open_class_folders(path, val_fraction=0.3, seed=4)
        assert found[0].classes == list(CLASSES)
        assert [below(images) for images in found] == [below(images) for images in expected]
        assert is_divided(path)
    assert len(open_evaluation_images(tmp_path / "packed")[0]) == len(IMAGES)


DIVIDED = {
    "folders in one archive": {"data.tar": [("train", "train/"), ("val", "val/")]},
    "below one more": {"data.tar": [("train", "set/train/"), ("val", "set/val/")]},
    "names of the archives": {"cifar-train.tar": [("train", "")], "cifar-val.tar": [("val", "")]},
    "both": {"cifar10-train.tar": [("train", "./train/")], "cifar10-test.tar": [("val", "./test/")]},
    "their own top folders": {"my_training_01.tar": [("train", "photos/")], "validation.tar": [("val", "others/")]},
    "folders alone": {"a.tar": [("train", "train/")], "b.tar": [("val", "valid/")]},
    "an archive that holds more": {"train.tar": [("train", "train/"), ("val", "val/")]},
}


@pytest.mark.parametrize("form", DIVIDED)
def test_what_is_trained_on_and_what_is_held_out(tmp_path, form):
    images = {"train": [name for name in IMAGES if "dog/2" not in name], "val": ["cat/v.png", "dog/2.png", IMAGES[-1]]}
    for split, names in images.items():
        for name in names:
            (tmp_path / "folders" / split / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "folders" / split / name).touch()
    for archive, parts in DIVIDED[form].items():
        pack(tmp_path / "packed" / archive, *(top + name for split, top in parts for name in images[split]))
    found, expected = open_class_folders(tmp_path / "packed"), open_class_folders(tmp_path / "folders")
    assert [below(split) for split in found] == [below(split) for split in expected]
    assert not is_divided(tmp_path / "packed")
    evaluated, described = open_evaluation_images(tmp_path / "packed")
    assert below(evaluated) == below(expected[1])
    assert str(tmp_path / "packed") in described


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sets(
        st.lists(
            st.text(
                st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=6
            ).filter(lambda part: is_seen(part) and is_harmless(part) and split_name(part) is None),
            min_size=2,
            max_size=4,
        ).map("/".join),
        min_size=1,
        max_size=12,
    )
)
def test_any_names_come_in_the_order_of_folders(tmp_path_factory, names):
    root = tmp_path_factory.mktemp("names")
    for name in names:
        file = root / "folders" / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    pack(root / "packed.tar", "0/1.png", *(f"{name}.png" for name in names))
    (root / "folders" / "0").mkdir(exist_ok=True)
    (root / "folders" / "0" / "1.png").touch()
    tops = {name.split("/")[0] for name in names} | {"0"}
    if len(set(map(composed, tops))) == len(tops) > 1:
        expected, found = (
            find_splits(root / "folders").parts["whole"](),
            find_splits(root / "packed.tar").parts["whole"](),
        )
        assert found.classes == expected.classes
        files = [path.relative_to(root / "folders").as_posix() for path, _ in expected.samples]
        assert [member.name for member, _ in found.samples] == files


def test_train_folders_win_over_an_archive_beside_them(tmp_path):
    for name in ("train/a/1.png", "train/b/1.png", "val/a/2.png", "val/b/2.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    pack(tmp_path / "ILSVRC2012_img_train.tar", "c/1.png", "d/1.png")
    assert open_class_folders(tmp_path)[0].classes == ["a", "b"]


def test_a_folder_of_held_out_images_beside_an_archive_counts(tmp_path):
    for name in ("val/a/2.png", "val/b/2.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    pack(tmp_path / "train.tar", "a/1.png", "b/1.png")
    train, held_out = open_class_folders(tmp_path)
    assert [str(source).rpartition("/")[2] for source, _ in train.samples] == ["1.png", "1.png"]
    assert [source for source, _ in held_out.samples] == [tmp_path / "val/a/2.png", tmp_path / "val/b/2.png"]
    (tmp_path / "train.tar").rename(tmp_path / "more.tar")
    with pytest.raises(ValueError, match=r"has val/ beside more\.tar, whose name tells neither train nor val"):
        open_class_folders(tmp_path)


def test_a_class_whose_name_is_no_text_is_named(tmp_path):
    for name in ("a", os.fsdecode(b"caf\xe9")):
        (tmp_path / "folders" / name).mkdir(parents=True)
        (tmp_path / "folders" / name / "1.png").touch()
    for root in (tmp_path / "folders", pack(tmp_path / "all.tar", "a/1.png", os.fsdecode(b"caf\xe9/1.png"))):
        with pytest.raises(ValueError, match=r"the class 'caf\\udce9' is no valid text \(UTF-8\); rename its folder"):
            open_class_folders(root)


def test_one_note_for_all_archives_without_an_index(tmp_path):
    archives = [pack(tmp_path / f"{n}.tar", f"a/{n}.png", f"b/{n}.png") for n in range(3)]
    with pytest.warns(
        IndexNote,
        match=rf"0\.tar has no index \(and 2 more\), .*`{re.escape(typed(['gcvit', 'data', 'index', tmp_path]))}`",
    ) as notes:
        find_splits(tmp_path)
    assert len(notes) == 1
    for archive in archives:
        write_index(archive)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(find_splits(tmp_path).parts["whole"]()) == 6


def test_mistakes(tmp_path):
    flat = pack(tmp_path / "flat.tar", "1.png", "2.png")
    with pytest.raises(ValueError, match=r"flat\.tar: no images in class folders"):
        open_class_folders(flat)
    pack(tmp_path / "stray/train.tar", "a/1.png", "b/1.png")
    pack(tmp_path / "stray/extra.tar", "a/2.png", "b/2.png")
    with pytest.raises(ValueError, match=r"extra\.tar: a/2\.png is neither for training nor held out"):
        open_class_folders(tmp_path / "stray")
    test = pack(tmp_path / "test.tar", "a/1.png", "b/1.png")
    with pytest.raises(ValueError, match=r"test\.tar has test/ but no class folders in train/"):
        open_class_folders(test)
    assert len(open_evaluation_images(test)[0]) == 2
    pack(tmp_path / "uneven/train.tar", "a/1.png", "b/1.png")
    pack(tmp_path / "uneven/val.tar", "a/1.png", "c/1.png")
    with pytest.raises(ValueError, match=r"uneven: .* only here: 'c'; missing here: 'b'"):
        open_class_folders(tmp_path / "uneven")
    with pytest.raises(ValueError, match="only one class, 'b'"):
        open_class_folders(pack(tmp_path / "one.tar", "a/b/1.png", "a/b/2.png"))
