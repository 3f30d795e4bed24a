"""Faults are planted one by one into a clean set: each is found, and what can be repaired is."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcvit.data import coco
from gcvit.data import coco_doctor as doctor
from gcvit.data.coco_checks import near_repeats
from gcvit.data.coco_doctor import examine_coco
from gcvit.data.coco_pictures import open_coco, open_coco_held_out
from gcvit.data.coco_repair import repair
from gcvit.data.doctor import HELD_OUT_ONLY, LEAK, NEVER, REPEAT
from gcvit.data.settings import CocoReading
from gcvit.errors import UserError

from .coco_sets import annotation, content, picture, write
from .test_coco import HOSTILE, _places

BOXES = [(2, 3, 20, 10), (30, 5, 10, 30), (0, 0, 64, 48), (40, 20, 24, 28)]


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for part in ("train", "val"):
        for number in (1, 2):
            picture(root / part / f"{number}.png")
        rows = [annotation(n + 1, 1 + n % 2, 1 + n % 2, box) for n, box in enumerate(BOXES)]
        write(root / part / "_annotations.coco.json", content(2, rows))
    return root


def plant(root: Path, part: str = "train") -> tuple[Path, dict[str, Any]]:
    file = root / part / "_annotations.coco.json"
    return file, json.loads(file.read_text())


def faults(root: Path) -> list[str]:
    return [finding.kind for finding in examine_coco(root).faults]


def test_a_clean_set(clean):
    health = examine_coco(clean)
    assert health.faults == health.notes == []
    assert health.pictures == {"train": 2, "val": 2}
    assert health.objects == {"train": {"cat": 2, "dog": 2}, "val": {"cat": 2, "dog": 2}}
    assert health.sides == {"width": [64] * 5, "height": [48] * 5}
    assert health.boxes["width"] == [10, 17.5, 22, 34, 64]
    assert health.boxes["aspect"][-1] == 2
    assert health.areas["train"] == {"small": 3, "medium": 1, "large": 0}
    file, _ = plant(clean)
    before = file.read_bytes()
    assert repair(file, clean / "out.json") == []
    assert file.read_bytes() == before
    assert json.loads((clean / "out.json").read_text()) == json.loads(before)
    seen: list[tuple[int, int]] = []
    assert examine_coco(clean, workers=1, progress=lambda done, total: seen.append((done, total))) == health
    assert seen[-1] == (4, 4)


def change(row: int, **fields: Any) -> Any:
    return lambda found: found["annotations"][row].update(fields)


def corners(found: dict[str, Any]) -> None:
    for one in found["annotations"]:
        x, y, w, h = one["bbox"]
        one["bbox"] = [x, y, x + w, y + h]


# A fault, its kind, and whether `repair` mends it.
PLANTED = {
    "textual ids": (
        lambda f: (f["images"][0].update(id="1"), [one.update(id=str(one["id"])) for one in f["annotations"]]),
        [coco.TEXT_ID],
        True,
    ),
    "one id twice": (change(1, id=1), [coco.SAME_ID], True),
    "pictures of one id": (lambda f: f["images"][1].update(id=1), [doctor.UNREADABLE_FILE], True),
    "unknown category": (change(0, category_id=9), [coco.UNKNOWN_CATEGORY], True),
    "unknown picture": (change(0, image_id=9), [coco.UNKNOWN_IMAGE], True),
    "no box": (change(0, bbox=None, segmentation=[]), [coco.NO_BOX], True),
    "NaN": (change(0, bbox=[float("nan")] * 4, segmentation=[]), [coco.NO_BOX], True),
    "outside": (change(0, bbox=[70, 3, 20, 10], segmentation=[]), [doctor.OUTSIDE], True),
    "above": (change(0, bbox=[3, -30, 20, 30], segmentation=[]), [doctor.OUTSIDE], True),
    "reaching out": (change(0, bbox=[50, 3, 20, 10], segmentation=[]), [doctor.BEYOND], True),
    "empty": (change(0, bbox=[5, 3, 0, 10], segmentation=[]), [doctor.EMPTY], True),
    "negative": (change(0, bbox=[22, 13, -20, -10]), [coco.NEGATIVE], True),
    "corners": (corners, [doctor.CORNERS, doctor.NO_FIT], True),
    "shares": (
        lambda f: [one.update(bbox=[0.1, 0.2, 0.3, 0.4], segmentation=[]) for one in f["annotations"]],
        [doctor.SHARES, doctor.NEAR_REPEAT],
        False,
    ),
    "mask elsewhere": (change(0, segmentation=[[30, 30, 50, 30, 50, 40, 30, 40]]), [doctor.NO_FIT], False),
    "odd polygon": (change(0, segmentation=[[30, 30, 50]]), [coco.BAD_MASK], True),
    "too many runs": (change(0, segmentation={"size": [48, 64], "counts": [10**9]}), [coco.BAD_MASK], True),
    "turned mask": (change(0, segmentation={"size": [64, 48], "counts": [48 * 64]}), [coco.MASK_SIZE], True),
    "the same again": (lambda f: f["annotations"].append(f["annotations"][0] | {"id": 9}), [doctor.NEAR_REPEAT], True),
    "nearly the same": (change(2, category_id=1, bbox=[2.1, 3, 20, 10]), [doctor.NO_FIT, doctor.NEAR_REPEAT], True),
    "missing picture": (lambda f: f["images"].append({"id": 3, "file_name": "3.png"}), [doctor.MISSING], True),
    "exchanged": (lambda f: f["images"][0].update(width=48, height=64), [doctor.BEYOND, doctor.WRONG_SIZE], True),
    "another size": (lambda f: f["images"][0].update(width=640, height=480), [doctor.WRONG_SIZE], False),
    "listed twice": (lambda f: f["images"].append(f["images"][0] | {"id": 7}), [doctor.TWICE], False),
    "no object": (lambda f: f["annotations"].append("x"), [coco.NO_OBJECT], True),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_what_is_planted_is_found_and_repaired(clean, fault):
    apply, kinds, mended = PLANTED[fault]
    file, found = plant(clean)
    apply(found)
    write(file, found)
    assert faults(clean) == kinds
    changes = repair(file, clean / "out.json")
    assert (clean / "train/_annotations.coco.json").read_text() == json.dumps(found)
    shutil.move(clean / "out.json", file)
    left = faults(clean)
    if mended:
        assert changes
        assert all("\n" not in line for line in changes)
        assert set(left) <= {HELD_OUT_ONLY}  # one object of each class may be gone
        open_coco(clean)
    else:
        assert set(left) & set(kinds)
    assert repair(file, clean / "again.json") == []


def test_repaired_boxes_are_what_was_meant(clean):
    file, found = plant(clean)
    corners(found)
    found["annotations"] += [annotation(7, 1, bbox=None), annotation(0, 1, bbox=(50, 40, 13, 7), area=None)]
    found["annotations"][-1]["bbox"] = [50, 40, 63, 47]
    write(file, found)
    assert "boxes that look like corners" in "".join(open_coco(clean)[0].remarks.lines())
    changes = repair(file, clean / "out.json")
    repaired = json.loads((clean / "out.json").read_text())
    assert [one["bbox"] for one in repaired["annotations"]] == [[*b] for b in [*BOXES, (4, 6, 20, 10), (50, 40, 13, 7)]]
    assert repaired["annotations"][-1]["area"] == 91
    assert "annotation 0: its id is now 8" in changes
    assert "annotation 1: its box is now [2, 3, 20, 10] and not [2, 3, 22, 13]: it was corners" in changes
    assert "annotation 7: its box is now [4.0, 6.0, 20.0, 10.0] and not None: it was missing" in "".join(changes)


def test_repair_keeps_whatever_else_there_is(clean):
    file, found = plant(clean)
    found |= {"info": {"année": 1}, "licenses": [1]}
    found["images"][0] |= {"date": "x"}
    found["annotations"][0] |= {"id": "a", "attributes": {"b": [1]}}
    write(file, found)
    assert repair(file, clean / "out.json") == ["annotation 'a': its id is now 5"]
    found["annotations"][0]["id"] = 5
    assert json.loads((clean / "out.json").read_text()) == found


@pytest.mark.parametrize(
    "text", ["[]", "{}", "{", '{"images": [], "annotations": {}, "categories": []}', "\x00", "[" * 10**5]
)
def test_what_cannot_be_repaired(tmp_path, text):
    file = write(tmp_path / "a.json", text)
    with pytest.raises(UserError, match=r"a\.json"):
        repair(file, tmp_path / "b.json")
    assert not (tmp_path / "b.json").exists()
    with pytest.raises(UserError, match="is the file itself"):
        repair(file, tmp_path / "." / "a.json")
    with pytest.raises(UserError, match="cannot be read"):
        repair(tmp_path / "none.json", tmp_path / "b.json")


@settings(max_examples=80)
@given(st.data())
def test_whatever_stands_in_a_file_is_repaired_or_refused(tmp_path_factory, data):
    """What is written can be read, and has nothing left to repair; the doctor has something to say of anything."""
    root = tmp_path_factory.getbasetemp() / "repaired"
    for number in (1, 2):
        if not (root / f"{number}.png").exists():
            picture(root / f"{number}.png")
    whole = content(2, [annotation(n + 1, 1 + n % 2, 1, box) for n, box in enumerate(BOXES)])
    whole["annotations"].append(annotation(8, 2, segmentation={"size": [48, 64], "counts": [3000, 72]}))
    places = list(_places(whole))
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from(places))
        if isinstance(holder, dict) or key < len(holder):
            holder[key] = data.draw(HOSTILE)
    for old in root.glob("*.json"):
        old.unlink()
    file = write(root / "a.json", whole)
    examine_coco(file)
    out = root / "b.json"
    try:
        repair(file, out)
    except UserError:
        return
    again = root / "c.json"
    assert repair(out, again) == []
    kinds = {finding.kind for finding in examine_coco(out).faults}
    assert kinds <= {doctor.WRONG_SIZE, doctor.NO_FIT, doctor.TWICE, doctor.SHARES, "nothing to train on"}


def test_pictures_that_are_damaged_or_held_out_too(clean):
    shutil.copy(clean / "train/1.png", clean / "val/2.png")
    shutil.copy(clean / "val/1.png", clean / "val/3.png")
    file, found = plant(clean, "val")
    shutil.copy(clean / "val/1.png", clean / "val/4.png")
    found["images"] += [{"id": number, "file_name": f"{number}.png", "height": 48, "width": 64} for number in (3, 4)]
    copied = [one | {"image_id": 3} for one in found["annotations"] if one["image_id"] == 1]
    found["annotations"] += [one | {"id": 9 + number} for number, one in enumerate(copied)]
    write(file, found)
    (clean / "train/2.png").write_bytes(b"none")
    health = examine_coco(clean)
    assert [(fault.kind, [Path(one).name for one in fault.files]) for fault in health.faults] == [
        ("unreadable picture", ["2.png"]),
        (LEAK, ["1.png", "2.png"]),
        (doctor.CONTRADICTION, ["1.png", "3.png", "4.png"]),
    ]
    assert "train and val" in health.faults[1].detail
    found["images"].pop()
    write(file, found)
    assert [fault.kind for fault in examine_coco(clean).faults][2:] == [REPEAT]


def test_classes(clean):
    file, found = plant(clean, "val")
    found["categories"] = [{"id": 1, "name": "cat"}, {"id": 2, "name": "bird"}, {"id": 3, "name": "fish"}]
    write(file, found)
    health = examine_coco(clean)
    assert [(fault.kind, fault.files) for fault in health.faults] == [(HELD_OUT_ONLY, ["bird"])]
    assert [(note.kind, note.files) for note in health.notes] == [(NEVER, ["fish"])]
    file, found = plant(clean)
    write(file, found | {"annotations": []})
    assert "nothing to train on" in faults(clean)


def test_a_set_of_crowds_alone(clean):
    file, found = plant(clean)
    for one in found["annotations"]:
        one["iscrowd"] = 1
    write(file, found)
    first = examine_coco(clean).faults[0]
    assert (first.kind, first.files) == ("nothing to train on", [str(file)])
    with pytest.raises(UserError, match="no objects to train on"):
        open_coco(clean)


def test_one_box_of_two_classes_is_no_repeat(clean):
    file, found = plant(clean)
    found["annotations"].append(found["annotations"][0] | {"id": 9, "category_id": 2})
    write(file, found)
    assert faults(clean) == []


@pytest.mark.parametrize("count", [50, 2500])
def test_repeats_among_few_and_many(count):
    draw = np.random.default_rng(count)
    boxes = np.concatenate([draw.random((count, 2)) * 1e5, 5 + draw.random((count, 2))], axis=1)
    labels = draw.integers(0, 3, count)
    boxes[7], labels[7] = boxes[3], labels[3]
    boxes[9], labels[9] = boxes[3], labels[3]
    assert near_repeats(boxes, labels) == [(3, 7), (3, 9)]


def test_notes(clean):
    file, found = plant(clean)
    found["images"].append({"id": 3, "file_name": "3.png", "height": 20, "width": 64})
    found["annotations"][0].pop("area")
    write(file, found)
    picture(clean / "train/3.png", (20, 64))
    write(clean / "train/notes.json", {})
    health = examine_coco(clean)
    assert not health.faults
    assert {note.kind for note in health.notes} == {
        "how the folders were read",
        "tiny picture",
        "picture without objects",
        coco.NO_AREA,
    }


@pytest.mark.parametrize("orientation", [3, 6])
def test_pictures_that_exif_turns(clean, orientation):
    file, _ = plant(clean)
    picture(clean / "train/1.png", orientation=orientation)
    health = examine_coco(clean)
    assert not health.faults
    assert [note.kind for note in health.notes] == [doctor.AS_STORED] * (orientation == 6)
    assert repair(file, clean / "out.json") == []
    (clean / "out.json").unlink()
    assert len(open_coco(clean)[0][0][1]) == 2
    reading = CocoReading(turned=False)
    boxes = open_coco_held_out(file, reading)[0][0][1].boxes
    assert np.array_equal(boxes[0], [42, 35, 62, 45] if orientation == 3 else [35, 2, 45, 22])


def test_an_unreadable_file_does_not_hide_the_other(clean):
    file, _ = plant(clean, "val")
    file.write_text("{")
    health = examine_coco(clean)
    assert [(fault.kind, fault.files) for fault in health.faults] == [(doctor.UNREADABLE_FILE, [str(file)])]
    assert health.pictures == {"train": 2}
    plant(clean)[0].write_text("{")
    assert examine_coco(clean).pictures == {}
    with pytest.raises(UserError, match="no such file"):
        examine_coco(clean / "none")
