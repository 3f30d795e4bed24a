"""The built-in scenes for segmentation: labels as the masks say, no scene in two splits, folders as the data set."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from gcvit.data.drawing import CLASSES
from gcvit.data.scenes import MOST_OBJECTS, SCENE_CLASSES, ShapeScenes, write_segmentation_folders
from gcvit.data.segment import open_segmentation


def contents(scenes: ShapeScenes) -> list[bytes]:
    return [hashlib.sha256(image.tobytes() + labels.tobytes()).digest() for image, labels in scenes]


def test_labels_are_what_the_masks_say():
    scenes = ShapeScenes("val", 12, (48, 64))
    assert scenes.classes == ["ground", *CLASSES]
    assert len(scenes.palette) == len(scenes.classes)
    seen = 0
    for index in range(12):
        image, labels = scenes[index]
        scene = scenes.scene(index)
        assert (np.asarray(image) == scene.image).all()
        assert (labels.shape, labels.dtype) == ((48, 64), np.int16)
        expected = np.zeros((48, 64), dtype=int)
        for found in scene.objects:
            expected += found.mask * (1 + found.label)  # a pixel shows one object
        assert (labels == expected).all()
        assert 1 <= len(scene.objects) <= MOST_OBJECTS
        seen += len(scene.objects)
    assert seen > 12


def test_splits_and_seeds_share_no_scene_and_nothing_changes():
    sets = [ShapeScenes(split, 15, 32, seed) for split in ("train", "val", "test") for seed in (0, 1)]
    drawn = [digest for scenes in sets for digest in contents(scenes)]
    assert len(set(drawn)) == len(drawn) == 90
    assert contents(ShapeScenes("train", 15, 32)) == drawn[:15]
    assert contents(ShapeScenes("train", 5, 32)) == drawn[:5]  # whatever their number


def test_all_classes_occur():
    labels = {int(label) for _, labels in ShapeScenes("train", 60, 32) for label in np.unique(labels)}
    assert labels == set(range(len(SCENE_CLASSES)))


def test_draw_draws_everything_once(monkeypatch):
    scenes, lazy = ShapeScenes("test", 6, 32), ShapeScenes("test", 6, 32)
    scenes.draw()
    expected = contents(lazy)
    monkeypatch.setattr("gcvit.data.scenes.draw_scene", None)  # would fail if called again
    assert contents(scenes) == expected
    with pytest.raises(IndexError):
        scenes[6]


def test_written_folders_are_read_back_equal(tmp_path):
    shown = []
    counts = {"train": 7, "val": 3}
    write_segmentation_folders(
        tmp_path / "out", counts, (32, 48), seed=2, track=lambda every: shown.append(len(every)) or every
    )
    assert shown == [10]
    train, held_out = open_segmentation(tmp_path / "out")
    for read, split, count in ((train, "train", 7), (held_out, "val", 3)):
        drawn = ShapeScenes(split, count, (32, 48), seed=2)
        assert (read.classes, read.palette) == (drawn.classes, drawn.palette)
        assert contents(read) == contents(drawn)
    with Image.open(tmp_path / "out/annotations/training/0001.png") as image:
        assert image.mode == "P"  # so that a person sees colours


def test_writing_is_all_or_nothing(tmp_path):
    def interrupted(scenes):
        yield from scenes[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_segmentation_folders(tmp_path / "out", {"train": 5}, 32, track=interrupted)
    assert list(tmp_path.iterdir()) == []
    write_segmentation_folders(tmp_path / "out", {"train": 1}, 32)
    with pytest.raises(ValueError, match="is not empty"):
        write_segmentation_folders(tmp_path / "out", {"train": 1}, 32)
    with pytest.raises(ValueError, match="val split needs at least one scene"):
        write_segmentation_folders(tmp_path / "new", {"train": 1, "val": 0}, 32)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
