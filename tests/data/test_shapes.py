"""The built-in scenes: the same for ever, exact about their objects, and no task for a linear model."""

import hashlib
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.linear_model import LogisticRegression

from gcvit.data import drawing
from gcvit.data.drawing import CLASSES, OUTLINES, SPLITS, draw_scene, scene_seed
from gcvit.data.shapes import ShapesDataset, write_class_folders

SCENES = {
    "seed": st.integers(0, 2**50),
    "size": st.tuples(st.integers(24, 120), st.integers(24, 120)),
    "objects": st.integers(1, 8),
}


def digest() -> str:
    drawn = hashlib.sha256()
    for seed in range(20):
        for scene in (draw_scene(seed), draw_scene(seed, (50, 90), objects=4)):
            drawn.update(scene.image.tobytes())
            for found in scene.objects:
                drawn.update(bytes([found.label]) + np.packbits(found.mask).tobytes())
    return drawn.hexdigest()


def test_pictures_never_change():
    """If this fails, figures that were recorded on the built-in data no longer compare with new ones."""
    assert digest() == DIGEST


DIGEST = "8291bcd83b7f7410e60378fe186234f50de9f0912d06494642ec7db8d84506e3"


def test_ten_classes():
    assert len(CLASSES) == len(set(CLASSES)) == 10
    assert {draw_scene(seed).objects[0].label for seed in range(100)} == set(range(10))


@settings(max_examples=40)
@given(**SCENES)
def test_scene(seed, size, objects):
    scene, again = draw_scene(seed, size, objects), draw_scene(seed, size, objects)
    assert scene.image.shape == (*size, 3)
    assert scene.image.dtype == np.uint8
    assert (scene.image == again.image).all()
    assert 1 <= len(scene.objects) <= objects
    seen = np.zeros(size, dtype=int)
    for found in scene.objects:
        assert found.mask.dtype == bool
        seen += found.mask
        x0, y0, x1, y1 = (int(edge) for edge in found.box)
        assert 0 <= x0 < x1 <= size[1]
        assert 0 <= y0 < y1 <= size[0]
        assert found.mask[y0:y1, x0:x1].sum() == found.mask.sum() >= 10
        for edge in (found.mask[y0, :], found.mask[y1 - 1, :], found.mask[:, x0], found.mask[:, x1 - 1]):
            assert edge.any()
    assert seen.max() == 1  # a pixel shows one object


def least_visible(monkeypatch, min_visible: float) -> float:
    """The smallest share of an object that remains visible in sixty crowded scenes."""
    silhouettes = []

    def recorded(*arguments):
        where, coverage = place(*arguments)
        silhouettes.append((where, coverage >= 0.5))
        return where, coverage

    place = drawing._place
    monkeypatch.setattr(drawing, "_place", recorded)
    monkeypatch.setattr(drawing, "MIN_VISIBLE", min_visible)
    shares = []
    for seed in range(60):
        silhouettes.clear()
        for found in draw_scene(seed, 96, objects=6).objects:
            inside = [full.sum() for where, full in silhouettes if found.mask[where][full].sum() == found.mask.sum()]
            shares.append(found.mask.sum() / min(inside))
    monkeypatch.undo()
    return min(shares)


def test_enough_of_every_object_stays_visible(monkeypatch):
    assert 0.8 <= least_visible(monkeypatch, drawing.MIN_VISIBLE) < 0.9  # and later ones do cover earlier
    assert least_visible(monkeypatch, 0.05) < 0.4


@settings(max_examples=30)
@given(st.integers(0, 2**40), st.sampled_from(range(10)))
def test_the_object_is_visible_on_its_ground(seed, label):
    """Colours differ by far more than the noise, so a person can see what the mask says."""
    scene = draw_scene(seed, 64, label=label)
    (found,) = scene.objects
    assert found.label == label
    image = scene.image.astype(float)
    contrast = np.abs(image[found.mask].mean(axis=0) - image[~found.mask].mean(axis=0))
    assert np.sqrt((contrast**2).sum()) > 70
    x0, y0, x1, y1 = found.box
    assert 0.25 <= max(x1 - x0, y1 - y0) / 64 <= 0.8


@pytest.mark.parametrize("name", CLASSES)
def test_outlines_are_distances_within_the_unit_disc(name):
    """Negative inside only, nothing beyond the disc, and a slope of at most one: no blurred or hard edges."""
    line = np.linspace(-1.5, 1.5, 301)
    down, across = np.meshgrid(line, line, indexing="ij")
    distance = OUTLINES[name](across, down)
    assert distance.shape == across.shape
    assert (distance[np.sqrt(across**2 + down**2) > 1.03] > 0).all()
    assert 0.05 < (distance < 0).mean() < 0.35
    step = line[1] - line[0]
    diagonal = distance[1:, 1:] - distance[:-1, :-1]
    for change, length in ((np.diff(distance), step), (np.diff(distance, axis=0), step), (diagonal, step * 2**0.5)):
        assert np.abs(change).max() < 1.001 * length
    slopes = np.gradient(distance, step)
    assert np.median(np.sqrt(slopes[0] ** 2 + slopes[1] ** 2)[np.abs(distance) < 0.04]) > 0.97


def test_wrong_settings():
    for wrong, message in (
        ({"size": 8}, "at least 16 pixels"),
        ({"size": (64, 8)}, "at least 16 pixels"),
        ({"objects": 0}, "at least one object"),
        ({"label": 10}, "label must be in 0…9"),
    ):
        with pytest.raises(ValueError, match=message):
            draw_scene(0, **wrong)
    with pytest.raises(ValueError, match="no split 'dev'"):
        ShapesDataset("dev", 10)
    with pytest.raises(ValueError, match="at least one scene"):
        ShapesDataset("train", 0)


@given(st.lists(st.tuples(st.sampled_from(SPLITS), st.integers(0, 10**9), st.integers(0, 9)), max_size=6))
def test_no_two_scenes_share_a_seed(scenes):
    assert len({scene_seed(*scene) for scene in scenes}) == len(set(scenes))


def test_dataset():
    train, val = ShapesDataset("train", 30), ShapesDataset("val", 30)
    assert len(train) == 30
    assert train.classes == list(CLASSES)
    assert [label for _, label in train] == [*range(10)] * 3
    pictures = {image.tobytes() for data in (train, val) for image, _ in data}
    assert len(pictures) == 60  # splits share no picture
    image, label = train[7]
    scene = train.scene(7)
    assert (np.asarray(image) == scene.image).all()
    assert label == scene.objects[0].label == 7
    assert np.asarray(image).tobytes() == train[7][0].tobytes()
    other = ShapesDataset("train", 30, seed=1)
    assert other[7][0].tobytes() not in pictures
    assert ShapesDataset("val", 12, (40, 70), transform=lambda image: image.size)[11] == ((70, 40), 1)
    with pytest.raises(IndexError):
        train[30]


def test_draw_draws_everything_once(monkeypatch):
    data, lazy, shown = ShapesDataset("test", 12, 32), ShapesDataset("test", 12, 32), []
    data.draw(track=lambda indices: shown.append(len(indices)) or indices)
    assert shown == [12]
    expected = [lazy[index][0].tobytes() for index in range(12)]
    monkeypatch.setattr("gcvit.data.shapes.draw_scene", None)  # would fail if called again
    assert [data[index][0].tobytes() for index in range(12)] == expected


def test_written_folders_hold_the_same_scenes(tmp_path):
    shown = []
    counts = {"train": 20, "val": 11}
    write_class_folders(tmp_path / "out", counts, 32, track=lambda all_of_it: shown.append(len(all_of_it)) or all_of_it)
    assert shown == [31]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    assert len(list((tmp_path / "out").glob("val/*/*.png"))) == 11
    data = ShapesDataset("train", 20, 32)
    for index in range(20):
        path = tmp_path / "out/train" / CLASSES[index % 10] / f"{index // 10 + 1:04d}.png"
        with Image.open(path) as image:
            assert image.tobytes() == data[index][0].tobytes()


def test_writing_is_all_or_nothing(tmp_path):
    def interrupted(pictures):
        yield from pictures[:5]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_class_folders(tmp_path / "out", {"train": 10}, 32, track=interrupted)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out").mkdir()
    write_class_folders(tmp_path / "out", {"train": 10}, 32)  # an empty folder is fine
    for root, message in ((tmp_path / "out", "is not empty"), (tmp_path / "out/train/disc/0001.png", "is a file")):
        with pytest.raises(ValueError, match=message):
            write_class_folders(root, {"train": 10}, 32)
    with pytest.raises(ValueError, match="val needs at least one picture per class, 10; got 9"):
        write_class_folders(tmp_path / "new", {"train": 10, "val": 9}, 32)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_a_linear_model_cannot_do_it():
    train, val = ShapesDataset("train", 2000), ShapesDataset("val", 1000)
    pixels = [np.stack([data.drawn(i) for i in range(len(data))]).reshape(len(data), -1) for data in (train, val)]
    inputs, held_out = (values.astype(np.float32) / 255 - 0.5 for values in pixels)
    labels, truth = (np.arange(len(data)) % 10 for data in (train, val))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it would go on improving on the training images only
        model = LogisticRegression(max_iter=10).fit(inputs, labels)
    assert model.score(inputs, labels) > 0.2  # it has learnt what it can
    assert model.score(held_out, truth) <= 0.4
