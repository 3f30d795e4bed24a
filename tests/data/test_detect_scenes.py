"""The built-in scenes are segmentation's, and written as COCO they come back as they are."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from gcvit.data.coco_doctor import examine_coco
from gcvit.data.coco_pictures import open_coco
from gcvit.data.doctor import NEVER
from gcvit.data.drawing import CLASSES
from gcvit.data.scenes import ObjectScenes, ShapeScenes, write_coco_folders


def test_objects_are_those_of_segmentation():
    scenes, pixels = ObjectScenes("train", 30), ShapeScenes("train", 30)
    several = 0
    for index in range(30):
        image, objects = scenes[index]
        other, labels = pixels[index]
        assert np.array_equal(np.asarray(image), np.asarray(other))
        bitmaps = objects.bitmaps()
        assert bitmaps.sum(0).max() == 1  # what covers is not covered
        assert np.array_equal((bitmaps * (objects.labels + 1)[:, None, None]).sum(0), labels)
        drawn = scenes.scene(index).objects
        assert [one.label for one in drawn] == objects.labels.tolist()
        for one, bitmap in zip(drawn, bitmaps, strict=True):
            assert np.array_equal(one.mask, bitmap)
        edges = [(c[0], r[0], c[-1] + 1, r[-1] + 1) for b in bitmaps for r, c in [_edges(b)]]
        assert objects.boxes.tolist() == [list(map(float, one)) for one in edges]
        assert objects.areas.tolist() == bitmaps.sum((1, 2)).tolist()
        several += len(objects) > 1
    assert several > 10
    assert scenes.classes == list(CLASSES)
    assert scenes.has_masks


def _edges(bitmap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.flatnonzero(bitmap.any(1)), np.flatnonzero(bitmap.any(0))


def test_written_and_read_again(tmp_path):
    root = tmp_path / "scenes"
    write_coco_folders(root, {"train": 12, "val": 5}, (80, 112), seed=3)
    read = dict(zip(("train", "val"), open_coco(root), strict=True))
    for split, count in (("train", 12), ("val", 5)):
        scenes = ObjectScenes(split, count, (80, 112), 3)
        assert len(read[split]) == count
        assert read[split].classes == scenes.classes
        for index in range(count):
            (image, objects), (other, expected) = read[split][index], scenes[index]
            assert np.array_equal(np.asarray(image), np.asarray(other))
            assert read[split].image_size(index) == scenes.image_size(index)
            assert read[split].image_id(index) == scenes.image_id(index)
            for name in ("xywh", "labels", "crowd", "areas", "boxes"):
                assert np.array_equal(getattr(objects, name), getattr(expected, name))
            assert (objects.size, objects.masks) == (expected.size, expected.masks)
    assert [read["val"].category_id(label) for label in range(10)] == [scenes.category_id(label) for label in range(10)]
    health = examine_coco(root)
    assert health.faults == []
    assert {note.kind for note in health.notes} <= {NEVER}
    theirs = COCO(str(root / "annotations/instances_val.json"))
    for index in range(5):
        masks = [theirs.annToMask(theirs.anns[ident]) for ident in theirs.getAnnIds(index + 1)]
        assert np.array_equal(masks, read["val"][index][1].bitmaps())


def test_again_the_same_and_never_half(tmp_path):
    for name in "ab":
        write_coco_folders(tmp_path / name, {"train": 3}, 32, seed=1)
    files = [sorted(p.read_bytes() for p in (tmp_path / name).rglob("*.*")) for name in "ab"]
    assert files[0] == files[1]
    assert json.loads((tmp_path / "a/annotations/instances_train.json").read_text())["annotations"][0]["id"] == 1
    with pytest.raises(ValueError, match="not empty"):
        write_coco_folders(tmp_path / "a", {"train": 3}, 32)
    with pytest.raises(ZeroDivisionError):
        write_coco_folders(tmp_path / "c", {"train": 3}, 32, track=lambda rows: (1 / 0 for _ in rows))
    assert not (tmp_path / "c").exists()
