"""Pictures and label files find each other, splits in any spelling, and what is left alone is said."""

import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gcvit.data.images import ImageError
from gcvit.data.segment import is_divided, open_segmentation, open_segmentation_held_out
from gcvit.data.segment_doctor import examine_scenes
from gcvit.data.segment_folders import find_scenes, pair
from gcvit.data.split_names import splits_among
from gcvit.errors import UserError

from .test_arrangement import HELD_OUT, TRAINING, fill
from .test_segment import label_map, named, picture, scenes


@pytest.mark.parametrize("train", TRAINING)
@pytest.mark.parametrize("held_out", [*HELD_OUT[::4], HELD_OUT[-1]])
@pytest.mark.parametrize("labels", ["annotations", "Masks"])
def test_usual_names_of_parts(tmp_path, train, held_out, labels):
    root = named(scenes(tmp_path, {train: 2, held_out: 1}, labels))
    (root / labels / train).rename(root / labels / "TRAINING")  # called otherwise than the pictures'
    (root / "images").rename(root / "Images")
    found = open_segmentation(root)
    assert list(map(len, found)) == [2, 1]
    assert Path(found[1].name(0)).parent.name == held_out
    assert found[0].remarks.lines() == []
    assert not is_divided(root)
    assert open_segmentation_held_out(root)[0].samples == found[1].samples


def test_names_that_differ_in_the_split_alone(tmp_path):
    root = named(scenes(tmp_path, {"seg_train": 3, "seg_test": 1, "seg_pred": 1}))
    train, held_out = open_segmentation(root)
    assert (len(train), len(held_out)) == (3, 1)
    assert train.remarks.lines() == [f"{root}/images/seg_pred: 1 picture beside seg_train/, seg_test/ passed over"]


def test_held_out_pictures_are_never_trained_on(tmp_path):
    root = named(scenes(tmp_path / "a", {"train": 2, "val": 1, "train/city/Val": 1}))
    with pytest.raises(UserError, match=r"train/city/Val: held-out pictures, .* as images/Val/, and its labels too"):
        open_segmentation(root)
    root = named(scenes(tmp_path / "b", {"city/train": 2, "city/test": 1}))
    with pytest.raises(UserError, match=r"images/city/test: held-out pictures"):
        open_segmentation(root)
    for kind in ("images", "annotations"):  # as it says
        for part in ("train", "test"):
            (root / kind / "city" / part).rename(root / kind / part)
    assert list(map(len, open_segmentation(root))) == [2, 1]
    root = named(scenes(tmp_path / "c", {"Train": 2, "training": 1}))
    with pytest.raises(UserError, match="Train/, training/ all look like the pictures to train on"):
        open_segmentation(root)
    root = named(scenes(tmp_path / "d", {"VAL": 2, "city": 1}))
    with pytest.raises(UserError, match="has images/VAL but no images/training to train on"):
        open_segmentation(root)


PARTS = st.lists(
    st.sampled_from(["train", "Train", "VAL", "val", "test", "city", "x_train", "x_test", "a"]), max_size=2
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PARTS.map(lambda parts: "/".join(["images", *parts])), min_size=1, max_size=5, unique=True))
def test_laws_of_any_parts(tmp_path_factory, folders):
    root = tmp_path_factory.mktemp("any")
    (root / "classes.txt").write_text("road\nsky\n")
    (root / "masks").mkdir()
    (root / "images").mkdir()
    pictures = fill(root, [f"{folder}/{number}.png" for folder in folders for number in "12"])
    fill(root, [f"masks{folder.removeprefix('images')}/{number}.png" for folder in folders for number in "12"])
    try:
        train, held_out = open_segmentation(root, val_fraction=0.5)
    except UserError:
        return
    said = train.remarks.lines()
    used = [{one.picture for one in images.samples} for images in (train, held_out)]
    assert not used[0] & used[1]
    for file in used[0]:
        at = root / "images"
        for folder in file.relative_to(at).parts[:-1]:
            beside = [entry.name for entry in at.iterdir() if entry.is_dir()]
            assert splits_among(beside).get(folder, "train") == "train"
            at /= folder
    for file in {*pictures.glob("images/**/*.png")} - used[0] - used[1]:
        above = [f"{folder}: " for folder in file.parents]
        unused = {part for line in said for part in line.partition("and not ")[2].split(", ")}
        assert unused & {*file.parts} or any("passed over" in line and line.startswith((*above,)) for line in said)


ENDINGS = [
    "_mask",
    "_label",
    "_gt",
    "_labelIds",
    "_seg",
    "-Mask",
    ".mask",
    "_gtFine_labelIds",
    "_labels",
    " segmentation",
]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("of_pictures", ["", "_leftImg8bit", "_image"])
def test_endings_that_all_label_files_have(tmp_path, ending, of_pictures):
    names = ["a_1", "a_2", "city/b"]
    fill(tmp_path, [f"images/{name}{of_pictures}.jpg" for name in names])
    fill(tmp_path, [f"masks/{name}{ending}.png" for name in names])
    part = pair(tmp_path / "images", tmp_path / "masks")
    stems = [
        (one.picture.stem.removesuffix(of_pictures), one.labels.stem.removesuffix(ending)) for one in part.checked()
    ]
    assert stems == [("a_1", "a_1"), ("a_2", "a_2"), ("b", "b")]
    (note,) = part.remarks.notes
    assert f"{ending!r}, with which all of them end" in note
    fill(tmp_path, ["masks/other.png", "images/other.jpg"])  # not all
    assert not pair(tmp_path / "images", tmp_path / "masks").remarks.notes
    fill(tmp_path, [f"images/x{of_pictures}.jpg"])
    with pytest.raises(UserError, match="no label file"):
        pair(tmp_path / "images", tmp_path / "masks").checked()


def test_the_same_names_are_taken_as_they_are(tmp_path):
    fill(tmp_path, ["images/a_image.jpg", "images/b_image.jpg", "masks/a_image.png", "masks/b_image.png"])
    part = pair(tmp_path / "images", tmp_path / "masks")
    assert len(part.checked()) == 2
    assert not part.remarks.notes


def test_names_that_match_nothing_are_shown_from_both_sides(tmp_path):
    for name in ("left_1", "left_2"):
        picture(tmp_path / f"images/{name}.png")
    for name in ("right_1", "right_2"):
        label_map(tmp_path / f"masks/{name}.png", [0, 1])
    with pytest.raises(UserError) as caught:
        open_segmentation(tmp_path)  # even where the classes would have to be counted
    assert str(caught.value) == (
        f"{tmp_path}/masks: no label file has a picture's name. The pictures are called left_1.png, left_2.png, the "
        "label files right_1.png, right_2.png: give them the same names but for the suffix; all label files may have "
        "one ending more, such as _mask"
    )
    (tmp_path / "classes.txt").write_text("road\nsky\n")
    faults = examine_scenes(tmp_path).faults
    assert faults[0].kind == "names that do not match"
    assert "The pictures are called left_1.png" in faults[0].detail
    for name in ("1", "2"):  # as it says
        (tmp_path / f"masks/right_{name}.png").rename(tmp_path / f"masks/left_{name}_mask.png")
    assert len(open_segmentation(tmp_path, val_fraction=0.5)[0]) == 1


def test_label_files_of_other_kinds_are_counted(tmp_path):
    root = named(scenes(tmp_path, {"": 2}))
    fill(
        root,
        ["annotations/0.json", "annotations/1.json", "annotations/x.jpg", "images/1.mp4", "notes.md", "more/1.png"],
    )
    fill(root, ["annotations/7.png"])
    train, _ = open_segmentation(root)
    assert train.remarks.passed_over == {".json": 2, ".jpg": 1, ".mp4": 1, ".md": 1}
    assert train.remarks.notes == [
        f"{root}/more: 1 picture beside images/, annotations/ passed over",
        f"{root}/annotations: 1 label file without picture passed over, such as {root}/annotations/7.png",
    ]
    notes = [(one.kind, one.detail) for one in examine_scenes(root).notes]
    assert ("files that are not read", "2 .json") in notes
    assert ("how the folders were read", f"{root}/more: 1 picture beside images/, annotations/ passed over") in notes
    fill(root, [f"annotations/{n}.csv" for n in range(9)])
    worst = examine_scenes(root).faults[0]
    assert (worst.kind, worst.detail[:22]) == ("most files are not read", "14 of 18: 9 .csv (" + str(root)[:4])


def test_a_test_part_without_labels_is_said_to_be_passed_over(tmp_path):
    root = named(scenes(tmp_path, {"train": 2, "val": 1, "test": 3}))
    for file in (root / "annotations/test").iterdir():
        file.unlink()
    (root / "annotations/test").rmdir()
    assert open_segmentation(root)[0].remarks.lines() == [
        f"{root}/images/test: 3 pictures without labels in annotations/ passed over"
    ]
    root = named(scenes(tmp_path / "b", {"train": 2, "val": 1, "test": 3}))
    assert open_segmentation(root)[1].remarks.lines() == [f"{root}: held out is val/, and not test"]


def form(name: str, number: int) -> str:
    return unicodedata.normalize(["NFC", "NFD"][number], name)


@pytest.mark.parametrize("forms", [(0, 1), (1, 0)])
def test_both_forms_of_unicode_belong_together(tmp_path, forms):
    for name in ("é/ü", "å"):
        picture(tmp_path / "images" / f"{form(name, forms[0])}.png")
        label_map(tmp_path / "masks" / f"{form(name, forms[1])}.png", [0, 1])
    (tmp_path / "classes.txt").write_text(f"{form('Bäume', forms[1])}\nroad\n", "utf8")
    train, _ = open_segmentation(tmp_path, val_fraction=0.5)
    assert train.classes == [form("Bäume", 0), "road"]
    assert isinstance(train[0][0].size, tuple)
    label_map(tmp_path / "masks" / f"{form('å', forms[0])}.png", [0, 1])
    with pytest.raises(UserError, match="the same name twice"):
        open_segmentation(tmp_path)
    (tmp_path / "classes.txt").write_text(f"{form('Bäume', 0)}\n{form('Bäume', 1)}\n", "utf8")
    (tmp_path / "masks" / f"{form('å', forms[0])}.png").unlink()
    with pytest.raises(
        UserError, match=r"two forms of Unicode, 'B\\xe4ume' and 'Ba\\u0308ume'; give the class another"
    ):
        open_segmentation(tmp_path)


@pytest.mark.parametrize("name", ["a\tb", "a\x1b[31mb", "a\x07", "a\u202eb", "a\u2028b", "a\x0bb"])
def test_names_that_a_terminal_would_obey_are_refused_at_once(tmp_path, name):
    root = scenes(tmp_path, {"": 2})
    (root / "classes.txt").write_text(f"road\n{name}\nsky\n", "utf8")
    with pytest.raises(UserError, match=r"classes\.txt: the name 'a.*has letters that no screen shows") as caught:
        open_segmentation(root)
    assert str(caught.value).isprintable()


def test_a_file_name_is_shown_escaped(tmp_path):
    root = named(scenes(tmp_path, {"": 2}))
    picture(root / "images" / "a\nb\u202e.png")
    with pytest.raises(UserError, match=r"for a\\nb\\u202e\.png; add them") as caught:
        open_segmentation(root)
    assert str(caught.value).isprintable()
    assert find_scenes(root).parts["whole"].without_labels == [root / "images" / "a\nb\u202e.png"]
    assert issubclass(ImageError, UserError)
