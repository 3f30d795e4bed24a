"""Sets as they lie on disks: in COCO's folders, Roboflow's, any others, with pictures of any name."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gcvit.data.coco_doctor import NO_MASK, WRONG_SIZE, examine_coco
from gcvit.data.coco_folders import PictureFiles, find_coco
from gcvit.data.coco_pictures import is_divided, open_coco, open_coco_held_out
from gcvit.data.images import ImageError
from gcvit.data.remarks import Remarks
from gcvit.data.settings import CocoReading
from gcvit.errors import UserError

from .coco_sets import annotation, content, picture, write


def fill(folder: Path, json_file: Path, count: int = 2, **more: object) -> Path:
    """A part: its pictures and its annotation file."""
    for number in range(1, count + 1):
        picture(folder / f"{number}.png")
    write(json_file, content(count, **more))
    return folder


def layout(root: Path, kind: str) -> Path:
    """A set of 3 pictures to train on and 2 held out."""
    if kind == "coco":
        fill(root / "train2017", root / "annotations/instances_train2017.json", 3)
        fill(root / "val2017", root / "annotations/instances_val2017.json")
        write(root / "annotations/captions_train2017.json", {"images": []})
        write(root / "annotations/person_keypoints_val2017.json", {"images": []})
        write(root / "annotations/image_info_test-dev2017.json", {"images": []})
    elif kind == "roboflow":
        for part, count in (("train", 3), ("valid", 2), ("test", 1)):
            fill(root / part, root / part / "_annotations.coco.json", count)
        (root / "README.roboflow.txt").write_text("hello")
    elif kind == "parts":
        fill(root / "train/images", root / "train/train.json", 3)
        fill(root / "val/images", root / "val/val.json")
    elif kind == "beside":
        fill(root / "images/train", root / "train.json", 3)
        fill(root / "images/val", root / "val.json")
    elif kind == "inside":
        fill(root / "train/images", root / "train/annotations/instances_default.json", 3)
        fill(root / "val/images", root / "val/annotations/instances_default.json")
    elif kind == "one folder":
        fill(root / "images", root / "annotations/instances_train.json", 3)
        write(root / "annotations/instances_val.json", content(2))
    return root


@pytest.mark.parametrize("kind", ["coco", "roboflow", "parts", "beside", "inside", "one folder"])
def test_layouts(tmp_path, kind):
    root = layout(tmp_path / "set", kind)
    train, held_out = open_coco(root)
    assert (len(train), len(held_out)) == (3, 2)
    assert train.classes == held_out.classes == ["cat", "dog"]
    assert not is_divided(root)
    measured, described = open_coco_held_out(root)
    assert [measured.name(i) for i in range(2)] == [held_out.name(i) for i in range(2)]
    assert described.endswith(".json")
    if kind != "one folder":
        assert not {train.name(i) for i in range(3)} & {held_out.name(i) for i in range(2)}
    for pictures in (train, held_out):
        for index in range(len(pictures)):
            image, objects = pictures[index]
            assert np.array_equal(np.asarray(image), np.asarray(Image.open(pictures.name(index))))
            assert pictures.image_id(index) == int(Path(pictures.name(index)).stem)
            assert objects.labels.tolist() == [pictures.image_id(index) % 2]
            assert pictures.image_size(index) == objects.size == image.size[::-1]
            assert objects.bitmaps().sum() == 200


@pytest.mark.parametrize("place", ["a.json", "annotations/instances_default.json", "labels/x.json"])
@pytest.mark.parametrize("named", ["folder", "file"])
def test_one_file_is_divided(tmp_path, place, named):
    file = tmp_path / "set" / place
    fill(tmp_path / "set/images", file, 20)
    root = tmp_path / "set" if named == "folder" else file
    assert is_divided(root)
    train, held_out = open_coco(root, val_fraction=0.1, seed=3)
    assert (len(train), len(held_out)) == (18, 2)
    names = {pictures.name(i) for pictures in (train, held_out) for i in range(len(pictures))}
    assert len(names) == 20
    again, described = open_coco_held_out(root, val_fraction=0.1, seed=3)
    assert [again.name(i) for i in range(2)] == [held_out.name(i) for i in range(2)]
    assert "held out" in described
    other = open_coco(root, seed=4)[1]
    assert [other.name(i) for i in range(2)] != [held_out.name(i) for i in range(2)]
    assert len(open_coco_held_out(root)[0]) == 20
    with pytest.raises(UserError, match="val_fraction"):
        open_coco(root, val_fraction=1)


NAMES = ["a b.png", "ä#%?&'\".png", "日本/語.png", "deep/er/1.JPG.png", "-x.png", "a..png", "1.PNG"]
BEFORE = ["", "./", "train/", "images/train/", "/home/x/images/train/", "C:\\data\\train\\", "../upload/train/"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("before", BEFORE)
def test_names_of_any_letters_and_folders(tmp_path, name, before):
    file = tmp_path / "images/train" / name
    shutil.move(picture(tmp_path / "elsewhere.png"), file.parent.mkdir(parents=True) or file)
    told = before + (name.replace("/", "\\") if "\\" in before else name)
    assert PictureFiles(tmp_path, Remarks()).find(told, "train", tmp_path / "train.json") == file
    if before != "images/train/":  # said in so many words, it is what is meant
        assert PictureFiles(tmp_path, Remarks()).find(told, "val", tmp_path / "val.json") is None


@pytest.mark.parametrize("name", ["a\\b.png", "no_suffix", "1.jpg.large", "e\u0301.png"])
def test_odd_names_beside_the_annotation_file(tmp_path, name):
    shutil.move(picture(tmp_path / "elsewhere.png"), tmp_path / name)
    found = PictureFiles(tmp_path, Remarks()).find(name, "whole", tmp_path / "a.json")
    assert found == tmp_path / name
    for other in ("\0", "x" * 999, "\ud800.png", "other/1.png", ".", "/", "C:"):
        assert PictureFiles(tmp_path, Remarks()).find(other, "whole", tmp_path / "a.json") is None


def test_one_name_in_several_folders(tmp_path):
    layout(tmp_path, "coco")
    (tmp_path / "train2017/2.png").unlink()
    (tmp_path / "val2017/3.png").write_bytes((tmp_path / "val2017/1.png").read_bytes())
    train, _ = open_coco(tmp_path)
    assert [train.name(i) for i in range(2)] == [str(tmp_path / f"train2017/{n}.png") for n in (1, 3)]
    (line,) = [line for line in train.remarks.lines() if "not found" in line]
    assert line.endswith("1 picture not found, such as 2.png")
    shutil.rmtree(tmp_path / "train2017")
    with pytest.raises(UserError, match=r"none of its 3 pictures, such as 1.png, is in .*; put the pictures there"):
        open_coco(tmp_path)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "../../set/../secret.png"])
def test_nothing_outside_the_folder_is_read(tmp_path, name):
    picture(tmp_path / "secret.png")
    fill(tmp_path / "set", tmp_path / "set/a.json", 2)
    images = [{"id": 1, "file_name": name}, {"id": 2, "file_name": "2.png"}]
    write(tmp_path / "set/a.json", content(2, images=images))
    pictures, _ = open_coco_held_out(tmp_path / "set")
    assert [pictures.image_id(i) for i in range(len(pictures))] == [2]


def test_classes_of_the_parts(tmp_path):
    """By name: ids and order may differ; what the training data do not have is refused if it occurs."""
    layout(tmp_path, "coco")
    other = [{"id": 5, "name": "dog"}, {"id": 9, "name": "bird"}, {"id": 8, "name": "cat"}]
    rows = [annotation(1, 1, 5), annotation(2, 2, 8)]
    write(tmp_path / "annotations/instances_val2017.json", content(2, rows, categories=other))
    train, held_out = open_coco(tmp_path)
    assert held_out.classes == train.classes == ["cat", "dog"]
    assert [held_out[i][1].labels.tolist() for i in range(2)] == [[1], [0]]
    assert [held_out.category_id(label) for label in range(2)] == [8, 5]
    assert [train.category_id(label) for label in range(2)] == [1, 2]
    assert held_out.counts() == [1, 1]
    measured, _ = open_coco_held_out(tmp_path)
    assert measured.classes == ["dog", "cat", "bird"]
    write(tmp_path / "annotations/instances_val2017.json", content(2, [*rows, annotation(3, 1, 9)], categories=other))
    with pytest.raises(UserError, match="classes that the training data do not have: 'bird'"):
        open_coco(tmp_path)


def test_what_is_left_out_of_training_and_told(tmp_path):
    rows = [annotation(n, n) for n in (1, 2, 3, 4)]
    rows[1] |= {"iscrowd": 1}
    fill(tmp_path / "train", tmp_path / "train/a.json", 6, annotations=[*rows, annotation(9, 1, bbox=(4, 6, 0.5, 3))])
    fill(tmp_path / "val", tmp_path / "val/a.json")
    picture(tmp_path / "train/4.png", (20, 64))
    json_file = tmp_path / "train/a.json"
    json_file.write_text(json_file.read_text().replace('"4.png", "height": 48', '"4.png", "height": 20'))
    train, _ = open_coco(tmp_path)
    assert [train.image_id(i) for i in range(len(train))] == [1, 3]
    assert [len(train[i][1]) for i in range(2)] == [1, 1]
    assert train.counts() == [2, 0]
    (line,) = train.remarks.lines()
    assert "1 picture with a side below 32 pixels; 3 pictures without objects to learn from; 2 of 5 objects" in line
    whole = train.file
    assert len(whole) == 6
    every, _ = open_coco_held_out(json_file)
    assert [len(every[i][1]) for i in range(6)] == [2, 1, 1, 1, 0, 0]
    assert every[1][1].crowd.tolist() == [True]
    fill(tmp_path / "train", json_file, 2, annotations=[annotation(1, 1, iscrowd=1)])
    with pytest.raises(UserError, match="no objects to train on in its 2 pictures; `gcvit doctor`"):
        open_coco(tmp_path)


def turned(seed: int, orientation: int, told: str, tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A set of one picture, of which one part is white, and that part's mask in the picture as it is stored."""
    stored = np.zeros((40, 64), np.uint8)
    draw = np.random.default_rng(seed)
    top, left = draw.integers(0, 20), draw.integers(0, 30)
    stored[top : top + 9, left : left + 17] = 255
    stored[top : top + 4, left : left + 5] = 0
    image, exif = Image.fromarray(stored).convert("RGB"), Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "1.png", exif=exif)
    upright = np.asarray(Image.open(tmp_path / "1.png").transpose(Image.Transpose(TURN[orientation])).convert("L"))
    seen = stored if told == "stored" else upright
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    x, y = int(columns[0]), int(rows[0])
    flat = (seen > 0).T.reshape(-1)
    runs = np.diff([0, *np.flatnonzero(np.diff([False, *flat].copy())), len(flat)]).tolist()
    found = annotation(1, 1, bbox=(x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y))
    found["segmentation"] = {"size": list(seen.shape), "counts": runs}
    images = [{"id": 1, "file_name": "1.png", "height": seen.shape[0], "width": seen.shape[1]}]
    return write(tmp_path / "a.json", content(1, [found], images=images)), upright


TURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@pytest.mark.parametrize("orientation", TURN)
@pytest.mark.parametrize("told", ["stored", "upright"])
@pytest.mark.parametrize("asked", [True, False])
def test_pictures_are_put_upright_and_annotations_where_they_are_then(tmp_path, orientation, told, asked):
    file, upright = turned(orientation, orientation, told, tmp_path)
    reading = CocoReading(turned=told == "upright") if asked else CocoReading()
    pictures, _ = open_coco_held_out(file, reading)
    if not asked and told == "stored" and orientation < 5:
        return  # the sizes say nothing, so that annotations count as made upright
    image, objects = pictures[0]
    assert np.array_equal(np.asarray(image.convert("L")), upright)
    assert objects.size == upright.shape
    assert np.array_equal(objects.bitmaps()[0] * 255, upright)
    rows, columns = np.flatnonzero(upright.any(1)), np.flatnonzero(upright.any(0))
    assert objects.boxes.tolist() == [[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]]


FORMATS = {"jpg": {}, "png": {}, "tif": {"compression": "raw"}, "tiff": {"compression": "tiff_lzw"}, "webp": {}}


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("asked", [None, True, False])
@pytest.mark.parametrize("orientation", [1, 6, 3, 7])
def test_sizes_that_are_not_told_are_those_that_annotations_were_made_at(tmp_path, suffix, asked, orientation):
    """The files' own, upright, unless annotations count as made on the pictures as stored; whatever the format."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (64, 48), "red").save(tmp_path / f"1.{suffix}", exif=exif, **FORMATS[suffix])
    found = [annotation(1, 1)]
    write(tmp_path / "a.json", content(1, found, images=[{"id": 1, "file_name": f"1.{suffix}"}]))
    pictures, _ = open_coco_held_out(tmp_path, CocoReading(turned=asked))
    upright = (64, 48) if orientation >= 5 else (48, 64)
    assert pictures.image_size(0) == ((48, 64) if asked is False else upright)
    image, objects = pictures[0]
    assert image.size[::-1] == objects.size == upright
    for told in ((48, 64), (64, 48)):
        images = [{"id": 1, "file_name": f"1.{suffix}", "height": told[0], "width": told[1]}]
        write(tmp_path / "a.json", content(1, found, images=images))
        pictures, _ = open_coco_held_out(tmp_path, CocoReading(turned=asked))
        health = examine_coco(tmp_path, CocoReading(turned=asked))
        wrong = [fault.kind for fault in health.faults if fault.kind == WRONG_SIZE]
        if told != (48, 64) and (asked is False or told != upright):
            assert wrong
            with pytest.raises(ImageError, match="its boxes would not fit"):
                pictures[0]
        else:
            assert pictures[0][1].size == upright
            assert not wrong


def test_pictures_of_another_size_and_of_none(tmp_path):
    images = [{"id": n, "file_name": f"{n}.png"} for n in (1, 2)]
    fill(tmp_path, tmp_path / "a.json", images=images)
    pictures, _ = open_coco_held_out(tmp_path)
    assert [pictures.image_size(i) for i in range(2)] == [(48, 64)] * 2
    assert "2 pictures without width and height" in pictures.remarks.lines()[0]
    picture(tmp_path / "2.png", (64, 48))
    with pytest.raises(
        ImageError, match=r"2\.png: 48×64 px, while .*a\.json says 64×48, so that its boxes would not fit"
    ):
        pictures[1]
    (tmp_path / "2.png").write_bytes(b"none")
    with pytest.raises(ImageError, match=r"2\.png"):
        pictures[1]
    again, _ = open_coco_held_out(tmp_path)
    assert again.image_size(1) == (0, 0)
    (tmp_path / "2.png").unlink()
    os.mkfifo(tmp_path / "2.png")
    assert open_coco_held_out(tmp_path)[0].image_size(1) == (0, 0)


OTHERS = {
    "data.yaml": "YOLO's",
    "train/labels/1.txt": "YOLO's",
    "labels/train/1.txt": "YOLO's",
    "Annotations/1.xml": "Pascal VOC's",
    "boxes.csv": "a table",
}


@pytest.mark.parametrize("other", OTHERS)
def test_folders_of_other_tools(tmp_path, other):
    write(tmp_path / other, "x")
    with pytest.raises(UserError, match=f"no annotation file .* looks like {OTHERS[other]}") as caught:
        open_coco(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_of_labelme_files(tmp_path):
    for number in range(3):
        picture(tmp_path / f"images/{number}.png")
        write(tmp_path / f"images/{number}.json", {"version": "5.0", "shapes": [{"label": "cat"}]})
        write(tmp_path / f"{number}.json", {"version": "5.0", "shapes": [{"label": "cat"}]})
    with pytest.raises(UserError, match=r"0\.json: it looks like a labelme file, one for each picture; convert it"):
        open_coco(tmp_path)


def mixed(root: Path, masked: int) -> Path:
    """Pictures 1 to 4; the first `masked` have an object with a mask and one without, the others two without."""
    found = []
    for number in range(1, 5):
        found += [annotation(2 * number, number), annotation(2 * number + 1, number, bbox=[30, 20, 9, 8])]
        found[-1]["segmentation"] = []
        if number > masked:
            found[-2].pop("segmentation")
    return fill(root, root / "a.json", 4, annotations=found)


@pytest.mark.parametrize("masked", [0, 2])
def test_objects_without_masks_are_learnt_from_by_their_boxes_alone(tmp_path, masked):
    """Where masks are wanted, only those that have one are; the others are neither right nor wrong in a score."""
    mixed(tmp_path, masked)
    train, held_out = open_coco(tmp_path, val_fraction=0.25, masks=False)
    assert not train.has_masks
    assert train.counts() == [6, 0]
    assert not train.remarks.notes
    for pictures in (train, held_out, open_coco_held_out(tmp_path, masks=False)[0]):
        for index in range(len(pictures)):
            _, objects = pictures[index]
            assert objects.masks is None
            assert not objects.crowd.any()
            assert len(objects) == 2
    health = examine_coco(tmp_path)
    assert health.masks == (masked > 0)
    assert not health.faults
    assert [one.detail.partition(" in ")[0] for one in health.notes if one.kind == NO_MASK] == ["6 of 8"] * (masked > 0)
    if masked:
        train, held_out = open_coco(tmp_path, val_fraction=0.25)
        assert "without a mask (--no-masks learns from their boxes)" in train.remarks.lines()[0]
        kept = [train[index][1] for index in range(len(train))]
        assert sum(len(one.bitmaps()) for one in kept) == len(train)
        assert held_out[0][1].crowd.any()


def test_what_cannot_be_opened(tmp_path):
    with pytest.raises(UserError, match="no such file or folder"):
        open_coco(tmp_path / "none")
    with pytest.raises(UserError, match="no annotation file"):
        open_coco(tmp_path)
    fill(tmp_path, tmp_path / "a.json")
    fill(tmp_path, tmp_path / "b.json")
    with pytest.raises(UserError, match=r"several annotation files, a\.json, b\.json"):
        open_coco(tmp_path)
    (tmp_path / "b.json").unlink()
    (tmp_path / "a.json").rename(tmp_path / "val.json")
    with pytest.raises(UserError, match="nothing to train on"):
        open_coco(tmp_path)
    write(tmp_path / "train.json", content(2))
    write(tmp_path / "training.json", content(2))
    with pytest.raises(UserError, match="all look like what to train on"):
        open_coco(tmp_path)
    for name in ("training.json", "val.json"):
        (tmp_path / name).unlink()
    with pytest.raises(UserError, match=r"is to train on.*--val-fraction"):
        open_coco_held_out(tmp_path)
    fill(tmp_path, tmp_path / "train.json", 1)
    with pytest.raises(UserError, match="one picture, too few"):
        open_coco(tmp_path)


def test_files_that_are_not_read_are_told(tmp_path):
    root = layout(tmp_path, "coco")
    assert find_coco(root).training == "instances_train2017"
    (root / "train2017/a.dng").write_bytes(b"x")
    train, _ = open_coco(root)
    assert any("captions_train2017.json" in line for line in train.remarks.lines())
    assert any(".dng" in line for line in train.remarks.lines())
    assert not any("json (" in line for line in train.remarks.lines())
    assert os.fspath(root) in train.name(0)
