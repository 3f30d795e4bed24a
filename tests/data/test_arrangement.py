"""Whatever folders are called and however they lie: nothing held out is trained on, nothing is passed over unsaid."""

import tarfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gcvit.data.classify import is_divided, open_class_folders, open_evaluation_images
from gcvit.data.classify_doctor import examine
from gcvit.data.doctor import LEAK
from gcvit.data.labelled import LabelledImages
from gcvit.data.split_names import split_name, splits_among
from gcvit.errors import UserError

from .test_doctor import photo

pytestmark = pytest.mark.filterwarnings("ignore::gcvit.data.splits.IndexNote")

TRAINING = ["train", "Train", "TRAIN", "training", "Training_Set", "trainset", "train2017", "train-images", "TrainData"]
HELD_OUT = ["val", "Val", "VALID", "validation", "test", "TEST", "Testing", "test_set", "val2017", "dev", "Eval"]
HELD_OUT += ["holdout", "held-out", "TestImages"]
CLASSES = ["été blanc", "latest", "contest", "devil", "Valentine", "medieval", "trains", "invalid", "n01440764", "0"]


def fill(root: Path, names: list[str]) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def pack(archive: Path, names: list[str]) -> Path:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name))
    return archive


def relative(images: LabelledImages, root: Path) -> dict[str, str]:
    """Classes by the images' names, from the data's root or the archive's top on."""
    return {
        source.relative_to(root).as_posix() if isinstance(source, Path) else source.name: images.classes[label]
        for source, label in images.samples
    }


def of_classes(top: str, numbers: str = "123") -> list[str]:
    return [f"{top}/{name}/{number}.png" for name in ("cat", "dog") for number in numbers]


@pytest.mark.parametrize("name", [*TRAINING, *HELD_OUT])
def test_names_of_splits(name):
    assert split_name(name).role == "train" if name in TRAINING else split_name(name).role in ("val", "test")
    assert split_name(name).rest == ()


@pytest.mark.parametrize("name", CLASSES)
def test_other_names(name):
    assert split_name(name) is None


def test_names_side_by_side():
    assert splits_among(["test", "Training", "dev", "val", "cat"]) == {
        "Training": "train",
        "val": "val",
        "dev": "val",
        "test": "test",  # in the order of preference
    }
    assert [*splits_among(["seg_test", "seg_train", "seg_pred"])] == ["seg_train", "seg_test"]
    assert [*splits_among(["PublicTest", "Training", "PrivateTest"])] == ["Training", "PrivateTest", "PublicTest"]
    assert [*splits_among(["train", "train_extra", "val", "val_extra"])] == ["train", "val"]
    assert not splits_among(["test_tube", "beaker", "train_station", "train_test_split"])


@pytest.mark.parametrize("train", TRAINING)
@pytest.mark.parametrize("held_out", HELD_OUT[::3])
def test_usual_names_in_folders_and_archives(tmp_path, train, held_out):
    names = [*of_classes(train), *of_classes(held_out, "4")]
    fill(tmp_path / "folders", names)
    pack(tmp_path / "one.tar", names)
    pack(tmp_path / "named" / f"my_{train}.tar", of_classes("."))
    pack(tmp_path / "named" / f"my_{held_out}.tar", of_classes(".", "4"))
    for place in ("folders", "one.tar", "named"):
        found = open_class_folders(tmp_path / place)
        assert [images.classes for images in found] == [["cat", "dog"]] * 2
        assert [[*Path(images.name(0)).parts][-1][-5:] for images in found] == ["1.png", "4.png"]
        assert list(map(len, found)) == [6, 2]
        assert not found[0].remarks.lines()
        assert not is_divided(tmp_path / place)
        assert len(open_evaluation_images(tmp_path / place)[0]) == 2


@pytest.mark.parametrize("name", ["test", "valid", "Train", "dev", "TEST"])
@pytest.mark.parametrize("inside", ["", "2019/"])
def test_a_class_may_be_called_like_a_split(tmp_path, name, inside):
    names = [f"{one}/{inside}{number}.png" for one in ("boat", "car", name) for number in "12"]
    for place in (fill(tmp_path / "data", names), pack(tmp_path / "data.tar", names)):
        train, held_out = open_class_folders(place, val_fraction=0.5)
        assert train.classes == sorted(["boat", "car", name])
        assert sorted(relative(train, place) | relative(held_out, place)) == sorted(names)
        (line,) = train.remarks.lines()
        assert line == f"{place}: read as classes, although their names are those of splits: {name}/"
    names = [f"{split}/{name}" for split in ("train", "val") for name in names]
    train, held_out = open_class_folders(fill(tmp_path / "split", names))
    assert [train.classes, len(train), len(held_out)] == [sorted(["boat", "car", name]), 6, 6]


NESTED = {
    "twice": [*of_classes("seg_train/seg_train"), *of_classes("seg_test/seg_test", "4"), "seg_pred/seg_pred/9.png"],
    "below one folder": [*of_classes("archive/set/train"), *of_classes("archive/set/Val", "4")],
    "below a name like theirs": [*of_classes("train_test_split/train"), *of_classes("train_test_split/test", "4")],
    "in the folder to train on": [*of_classes("train/train"), *of_classes("train/val", "4")],
}


@pytest.mark.parametrize("how", NESTED)
def test_splits_further_down(tmp_path, how):
    for place in (fill(tmp_path / "data", NESTED[how]), pack(tmp_path / "data.tar", NESTED[how])):
        train, held_out = open_class_folders(place)
        assert (train.classes, len(train), len(held_out)) == (["cat", "dog"], 6, 2)
        lines = train.remarks.lines()
        assert len(lines) == (how == "twice")
        assert all("seg_pred: 1 image passed over, beside seg_train/, seg_test/" in line for line in lines)


REFUSED = {
    r"test/ has class folders as a split has, and beside it lies cat/, dog/": [*of_classes("."), *of_classes("test")],
    r"Train/ has class folders .* beside it lies extra/.*if it is a class, rename it": [
        *of_classes("Train"),
        "extra/1.png",
    ],
    r"train/?: no class folders in it": ["train/1.png", "test/1.png"],
    r"Val/?: no class folders in it": [*of_classes("train"), "Val/1.png"],
    r"train/, training/ all look like the training images": [*of_classes("train"), *of_classes("training")],
    r"cat/Val/ looks like held-out images within a class; move it above the classes, as Val/cat/": [
        *("cat/train/1.png", "cat/Val/2.png", "dog/train/1.png", "dog/Val/2.png"),
    ],
    r"cat/x_test/ looks like held-out": [*of_classes("train"), "train/cat/x_train/1.png", "train/cat/x_test/1.png"],
    r"train/, val/ in a folder of held-out images": [*of_classes("test/train"), *of_classes("test/val")],
    r"train/, val/ in val/, although both look like splits": [
        *(*of_classes("train"), *of_classes("val/train"), *of_classes("val/val"))
    ],
    "has testing/ but no class folders in train/": of_classes("testing"),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_may_be_meant_in_two_ways_is_refused(tmp_path, message):
    for place in (fill(tmp_path / "data", REFUSED[message]), pack(tmp_path / "data.tar", REFUSED[message])):
        with pytest.raises(UserError, match=message):
            open_class_folders(place)


def test_what_refusals_advise_works(tmp_path):
    root = fill(tmp_path / "a", [*of_classes("."), *of_classes("test")])
    for name in ("cat", "dog"):
        (root / "train").mkdir(exist_ok=True)
        (root / name).rename(root / "train" / name)
    assert list(map(len, open_class_folders(root))) == [6, 6]
    root = fill(tmp_path / "b", [*of_classes("Train"), "boat/1.png", "boat/2.png"])
    (root / "Train").rename(root / "trains")
    assert open_class_folders(root)[0].classes == ["boat", "trains"]
    root = fill(tmp_path / "c", [f"{name}/{part}/1.png" for name in ("cat", "dog") for part in ("train", "val")])
    for name in ("cat", "dog"):
        for part in ("train", "val"):
            (root / part).mkdir(exist_ok=True)
            (root / name / part).rename(root / part / name)
        (root / name).rmdir()
    assert list(map(len, open_class_folders(root))) == [2, 2]


def test_what_messages_of_archives_advise_works(tmp_path):
    test = pack(tmp_path / "test.tar", of_classes("."))
    with pytest.raises(UserError, match=r"in an archive with train in its name beside it \(give their folder\)"):
        open_class_folders(test)
    pack(tmp_path / "my_train.tar", of_classes("."))
    assert list(map(len, open_class_folders(tmp_path))) == [6, 6]
    more = pack(tmp_path / "more.tar", of_classes(".", "4"))
    with pytest.raises(UserError, match=r"more\.tar: .* put train, val or test in the archive's name"):
        open_class_folders(tmp_path)
    more.rename(tmp_path / "train-more.tar")
    assert list(map(len, open_class_folders(tmp_path))) == [8, 6]


def test_a_folder_of_results_is_no_split(tmp_path):
    root = fill(tmp_path, [*of_classes("train"), "eval/results.csv"])
    train, _ = open_class_folders(root)
    assert train.remarks.lines() == [f"1 file passed over, by suffix: 1 .csv ({root}/eval/results.csv)"]
    (root / "eval/results.csv").unlink()
    with pytest.raises(UserError, match="eval: no class folders in it"):
        open_class_folders(root)


def test_what_is_not_used_is_said(tmp_path):
    names = [*of_classes("train"), *of_classes("Val"), *of_classes("test", "45"), "old/x/1.png", "cover.png", "a.mp4"]
    names += [
        "train/loose.png",
        "train/cat/1.cr2",
        "train/cat/2.CR2",
        "train/cat/Thumbs.db",
        "Val/__MACOSX/cat/._1.png",
    ]
    root = fill(tmp_path / "data", names)
    train, held_out = open_class_folders(root)
    assert train.remarks.lines() == [
        f"{root}/train: 1 image in no class's folder passed over, such as {root}/train/loose.png",
        f"{root}: 1 image in no class's folder passed over, such as {root}/cover.png",
        f"{root}/old: 1 image passed over, beside train/, Val/, test/",
        f"3 files passed over, by suffix: 2 .cr2 ({root}/train/cat/1.cr2), 1 .mp4 ({root}/a.mp4)",
    ]
    assert train.remarks.passed_over == {".cr2": 2, ".mp4": 1}
    assert held_out.remarks.lines() == [f"{root}/Val: held out is Val/, and not test"]
    archive = pack(tmp_path / "data.tar", names)
    packed, _ = open_class_folders(archive)
    assert packed.remarks.passed_over == train.remarks.passed_over
    assert packed.remarks.lines()[-1].endswith(f"2 .cr2 ({archive}:train/cat/1.cr2), 1 .mp4 ({archive}:a.mp4)")
    evaluated, _ = open_evaluation_images(root)
    assert any("and not test" in line for line in evaluated.remarks.lines())


@pytest.mark.parametrize("top", ["", "train/"])
def test_other_files_are_counted_once_wherever_they_lie(tmp_path, top):
    names = [*of_classes(f"{top}."), "a.csv", "boxes/1.xml", "boxes/deep/2.xml"]
    if top:
        names += [*of_classes("val"), "val/cat/b.csv", "train/cat/c.csv", "train/c.csv", "raw/e.cr2"]
    for place in (pack(tmp_path / "data.tar", names), fill(tmp_path / "data", names)):
        if place.is_dir() and not top:
            (place / "boxes").rename(place / "cat/boxes")  # or it would be a class without images
        train, held_out = open_class_folders(place)
        both = train.remarks.passed_over + (held_out.remarks.passed_over if top else Counter())
        assert both == ({".csv": 4, ".xml": 2, ".cr2": 1} if top else {".csv": 1, ".xml": 2})


def test_a_class_of_files_that_are_not_read_says_so(tmp_path):
    fill(tmp_path, [*of_classes("."), "cow/1.cr2", "cow/2.CR2"])
    with pytest.raises(
        UserError, match=r"no images in class 'cow'; .* Files that are not read: 2 \.cr2 \(.*cow/1\.cr2"
    ):
        open_class_folders(tmp_path)


def test_folders_and_archives_side_by_side(tmp_path):
    root = fill(tmp_path / "a", of_classes("train"))
    pack(root / "more.tar", of_classes("."))
    assert open_class_folders(root)[0].remarks.lines() == [
        f"{root}: passed over, since there is train/ to train on: more.tar"
    ]
    root = fill(tmp_path / "b", of_classes("."))
    pack(root / "more.tar", of_classes("."))
    with pytest.raises(UserError, match=r"b: cat/ and more\.tar both hold images; give one of them alone"):
        open_class_folders(root)
    root = fill(tmp_path / "c", ["previews/1.png", "cover.png", "notes.txt"])
    pack(root / "train.tar", of_classes("."))
    pack(root / "Val.tar", of_classes("Val"))
    train, held_out = open_class_folders(root)
    assert list(map(len, (train, held_out))) == [6, 6]
    assert train.remarks.lines() == [
        f"{root}: 1 image in no class's folder passed over, such as {root}/cover.png",
        f"{root}/previews: 1 image passed over, beside train/, Val/",
        f"1 file passed over, by suffix: 1 .txt ({root}/notes.txt)",
    ]
    fill(root, of_classes("val"))
    (root / "previews/1.png").unlink()
    with pytest.raises(UserError, match="both val/ and an archive of that name hold images"):
        open_class_folders(root)
    pack(tmp_path / "d/my_test.tar", of_classes("train"))
    with pytest.raises(UserError, match=r"my_test\.tar: train/ in an archive of held-out images; rename one of them"):
        open_class_folders(tmp_path / "d")


def test_the_doctor_lists_it(tmp_path):
    for name in of_classes("Train") + of_classes("VALID", "4"):
        photo(tmp_path / "data" / name)
    (tmp_path / "data/VALID/dog/5.png").write_bytes((tmp_path / "data/Train/dog/1.png").read_bytes())
    fill(tmp_path / "data", [f"Train/cat/{n}.mp4" for n in range(3)])
    health = examine(tmp_path / "data")
    assert [*health.counts] == ["Train", "VALID"]
    assert [finding.kind for finding in health.faults] == [LEAK]
    assert [(one.kind, one.detail) for one in health.notes] == [("files that are not read", "3 .mp4")]
    assert health.notes[0].files == [f"{tmp_path}/data/Train/cat/0.mp4"]
    fill(tmp_path / "data", [f"Train/cat/{n}.NEF" for n in range(7)])
    worst = examine(tmp_path / "data").faults[0]
    assert worst.kind == "most files are not read"
    assert worst.detail.startswith("10 of 19: 7 .nef (")


WORDS = st.sampled_from(["extra", *TRAINING, *HELD_OUT, "seg_train", "seg_test", "asl-train", "asl-test", "test_tube"])
SETS = [["cat", "dog"], ["cat", "dog", "test"], ["Train", "boat"], ["a/b", "a/c"], ["valid", "invalid"]]


@st.composite
def layouts(draw) -> list[str]:
    """Classes below some folders, of which each may hold itself once more, and a few strays."""
    classes = draw(st.sampled_from(SETS))
    tops = draw(st.lists(WORDS | st.just(""), min_size=1, max_size=4, unique=True))
    folders = [f"{top}/{top}" if top and draw(st.integers(0, 5)) == 0 else top for top in tops]
    names = [f"{top}/{name}/{n}.png".strip("/") for top in folders for name in classes for n in "12"]
    strays = draw(st.lists(st.lists(WORDS | st.sampled_from(["cat", "dog"]), max_size=3), max_size=3))
    above = draw(st.sampled_from(["", "", "set/"]))
    return [above + name for name in {*names, *("/".join([*stray, "9.png"]) for stray in strays)}]


def held_out_folders(name: str, names: list[str]) -> list[str]:
    """The folders in an image's path that are called like held-out ones, among their neighbours."""
    found, above = [], ""
    for folder in name.split("/")[:-1]:
        beside = [other[len(above) :].split("/")[0] for other in names if other.startswith(above)]
        if splits_among(beside).get(folder, "train") != "train":
            found.append(folder)
        above += f"{folder}/"
    return found


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(layouts())
def test_laws_of_any_layout(tmp_path_factory, names):
    root = fill(tmp_path_factory.mktemp("any") / "data", names)
    results = []
    for place in (root, pack(root.parent / "data.tar", names)):
        try:
            train, held_out = open_class_folders(place, val_fraction=0.5)
        except UserError:
            results.append(None)
            continue
        said = [*train.remarks.lines(), *held_out.remarks.lines()]
        trained, evaluated = relative(train, root), relative(held_out, root)
        assert not trained.keys() & evaluated.keys()
        for name, label in trained.items():
            for folder in held_out_folders(name, names):
                assert folder == label
                assert any("read as classes" in line and f"{folder}/" in line for line in said)
        for name in set(names) - {*trained, *evaluated}:
            folders = name.split("/")[:-1]
            above = ["/".join(folders[: at + 1]) for at in range(len(folders))]
            places = [f"{place}: ", *(f"{place}{'/' if place == root else ':'}{folder}: " for folder in above)]
            unused = {part for line in said for part in line.partition("and not ")[2].split(", ")}
            assert unused & {*folders} or any("passed over" in line and line.startswith((*places,)) for line in said)
        results.append((trained, evaluated))
    assert results[0] == results[1]
