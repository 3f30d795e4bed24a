"""Names of classes: one form of Unicode, nothing that a screen would obey, refused before a run begins."""

import tarfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gcvit.data.class_names import names_in
from gcvit.data.classify import open_class_folders
from gcvit.data.classify_doctor import examine
from gcvit.data.remarks import is_seen
from gcvit.data.split_names import split_name
from gcvit.errors import UserError
from gcvit.tasks.classes import match_classes
from gcvit.weights.hub import labels_of
from gcvit.wording import composed, is_harmless

from .test_arrangement import fill, pack
from .test_doctor import photo

pytestmark = pytest.mark.filterwarnings("ignore::gcvit.data.splits.IndexNote")

HARMFUL = ["a\nb", "a\tb", "\x1b[2J", "a\x07", "a\x9b1m", "a\u202eb", "\u2066a", "a\u200f", "a\u2028b", "a\x7f"]


@pytest.mark.parametrize("name", HARMFUL)
def test_harmful_names_are_refused_when_the_data_are_opened(tmp_path, name):
    names = [f"{part}/{one}/{n}.png" for part in ("train", "val") for one in ("dog", name) for n in "12"]
    pax = tmp_path / "data.tar"
    with tarfile.open(pax, "w", format=tarfile.PAX_FORMAT) as tar:
        for one in names:
            tar.addfile(tarfile.TarInfo(one))
    for place in (fill(tmp_path / "data", names), pax):
        with pytest.raises(
            UserError, match=r"the class '.*' has letters that no screen shows.*; rename its folder"
        ) as caught:
            open_class_folders(place)
        assert str(caught.value).isprintable()
    (tmp_path / "data/train" / name).rename(tmp_path / "data/train/cat")  # as it says
    (tmp_path / "data/val" / name).rename(tmp_path / "data/val/cat")
    assert open_class_folders(tmp_path / "data")[0].classes == ["cat", "dog"]


def test_names_of_folders_beside_are_shown_escaped(tmp_path):
    for name in ("train/a/1.png", "train/b/2.png", "val/a/3.png", "val/b/4.png", "x\x1b[2J\ny/5.png"):
        photo(tmp_path / name)
    train, _ = open_class_folders(tmp_path)
    (line,) = train.remarks.lines()
    assert line == f"{tmp_path}/x\\x1b[2J\\ny: 1 image passed over, beside train/, val/"
    fill(tmp_path, ["train/a/1.h\x1bc"])
    assert all(map(is_harmless, open_class_folders(tmp_path)[0].remarks.lines()))
    assert examine(tmp_path).notes[-1].files == [f"{tmp_path}/train/a/1.h\x1bc"]  # as it is, for who looks for it


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_both_forms_of_unicode_are_one_class(tmp_path, forms):
    words = ["café", "cafe", "가", "Å"]
    names = [
        f"{part}/{unicodedata.normalize(form, word)}/{n}.png"
        for part, form in zip(("train", "val"), forms, strict=True)
        for word in words
        for n in "12"
    ]
    for place in (fill(tmp_path / "data", names), pack(tmp_path / "data.tar", names)):
        train, held_out = open_class_folders(place)
        assert train.classes == held_out.classes == sorted(map(composed, words))
        assert train.counts() == held_out.counts() == [2] * 4
        for images in (train, held_out):
            for source, label in images.samples:
                folder = source.parent.name if isinstance(source, Path) else source.name.split("/")[-2]
                assert composed(folder) == images.classes[label]
    assert not any(fault.kind == "class on one side only" for fault in examine(tmp_path / "data").faults)


def test_two_folders_of_one_name_are_refused(tmp_path):
    names = ["dog/1.png", "caf\u00e9/1.png", "cafe\u0301/2.png"]
    for place in (fill(tmp_path / "data", names), pack(tmp_path / "data.tar", names)):
        with pytest.raises(UserError, match=r"two forms of Unicode, 'cafe\\u0301' and 'caf\\xe9'; rename its folder"):
            open_class_folders(place)


TEXTS = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=5)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(TEXTS.map(lambda text: text.encode("utf8", "replace").decode()), min_size=2, max_size=4))
def test_any_class_is_read_or_refused_by_name(tmp_path_factory, names):
    assume(all(is_seen(name) and not split_name(name) for name in names))
    root = fill(tmp_path_factory.mktemp("any"), [f"{name}/{number}.png" for name in names for number in "12"])
    if all(map(is_harmless, names)) and len({*map(composed, names)}) == len(names):
        assert open_class_folders(root)[0].classes == sorted(map(composed, names))
    else:
        with pytest.raises(UserError) as caught:
            open_class_folders(root)
        assert is_harmless(str(caught.value))


def test_classes_of_a_checkpoint_are_compared_in_one_form():
    decomposed = [unicodedata.normalize("NFD", name) for name in ("café", "Bäume")]
    known = labels_of({"label_names": decomposed})
    assert known == ["café", "Bäume"]
    assert labels_of({"label_names": dict(enumerate(decomposed)), "num_classes": 2}) == known
    assert match_classes(known, 2, ["Bäume", "café"], source="a", data="b") == [1, 0]


def test_lines_of_a_list_of_names(tmp_path):
    file = tmp_path / "classes.txt"
    file.write_bytes("road\r\ncafe\u0301\r\n  sky  \r\n\r\n".encode())
    assert names_in(file) == ["road", "caf\u00e9", "sky"]
    file.write_text("road\nsea\u2028sky\n", "utf8")  # one name, and not two
    with pytest.raises(UserError, match=r"the name 'sea\\u2028sky' has letters"):
        names_in(file)
