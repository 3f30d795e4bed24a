"""What a segmentation model says of a picture: the class of each pixel, in every form."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gcvit.data.label_maps import LabelMapping, default_palette, load_labels
from gcvit.tasks.segment.answer import Segmentation
from gcvit.tasks.segment.settings import ScenePreprocessing, SegmentLooks, SegmentTelling
from tasks import scenes
from tasks.scenes import CLASSES, Scenes, model, opened

LABELS = np.repeat(np.array([[0, 0, 0, 2], [0, 3, 3, 2]], np.int16), 5, 0)


def answer(labels: np.ndarray = LABELS, **changes: Any) -> Segmentation:
    picture = Image.new("RGB", labels.shape[::-1], "green")
    return Segmentation(picture, labels, CLASSES, default_palette(len(CLASSES)), **changes)


def test_shares_are_of_the_classes_that_occur_the_largest_first() -> None:
    assert answer().shares == {"sky": 0.5, "<b>tree</b>": 0.25, "car": 0.25}
    told = json.loads(json.dumps(answer().to_dict()))
    assert told == {"file": None, "size": [10, 4], "shares": {"sky": 0.5, "<b>tree</b>": 0.25, "car": 0.25}}
    assert answer().line() == "sky 50.0%, <b>tree</b> 25.0%, car 25.0%"


def test_a_line_names_five_classes_at_most() -> None:
    many, names = np.arange(8, dtype=np.int16)[None], [f"class {label}" for label in range(8)]
    said = Segmentation(Image.new("RGB", (8, 1)), many, names, default_palette(8)).line()
    assert said.startswith("class 0 12.5%, ")
    assert said.endswith("class 4 12.5%, 3 more")


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_labels_and_overlay_are_saved_side_by_side(tmp_path: Path, kind: Any) -> None:
    written = answer(kind=kind).save(tmp_path / "a.b")
    assert written == {"overlay": str(tmp_path / f"a.b.overlay.{kind}"), "labels": str(tmp_path / "a.b.labels.png")}
    assert {str(path) for path in tmp_path.iterdir()} == set(written.values())
    labels = load_labels(written["labels"], LabelMapping(len(CLASSES)))
    assert (labels == LABELS).all()
    with Image.open(written["overlay"]) as overlay:
        assert overlay.format == ("PNG" if kind == "png" else "JPEG")
        assert overlay.width > 2 * overlay.height / 10


def test_a_picture_is_seen_whole_or_in_windows_of_the_crops_size() -> None:
    usual = SegmentLooks().of(opened())
    assert (usual.mode, usual.window, usual.scales, usual.flip) == ("whole", (64, 64), (1.0,), False)
    file = opened()
    file.exported = True
    assert SegmentLooks().of(file).mode == "slide"
    assert SegmentLooks("whole").of(file).mode == "whole"
    words = SegmentLooks("slide", (0.5, 1.0), True).words(opened())
    assert words == "in windows of 64×64, scales 0.5 1, mirrored too"
    assert SegmentLooks().words(opened()) == "whole"
    with pytest.raises(ValueError, match="scales"):
        SegmentLooks(scales=(0.0,))


def test_the_labels_are_those_of_an_evaluation() -> None:
    some = Scenes([(40, 64), (33, 50)])
    measured = scenes.evaluate(some)
    for index in range(2):
        found = opened().predict(some[index][0], telling=SegmentTelling("jpg"), device="cpu")
        assert found.kind == "jpg"
        assert (found.labels == measured.shown[index].predicted.numpy()).all()


def test_pictures_that_become_of_one_size_keep_their_own() -> None:
    about = opened(preprocessing=ScenePreprocessing(resize=(60, 45), crop=(64, 64)))
    sizes = [(120, 160), (90, 120), (120, 160)]
    pictures = [Scenes(sizes)[index][0] for index in range(3)]
    found = about.predict(pictures, batch_size=3, device="cpu")
    assert [answer.labels.shape for answer in found] == sizes
    for picture, answer in zip(pictures, found, strict=True):
        assert (answer.labels == about.predict(picture, device="cpu").labels).all()


def test_answers_that_are_no_numbers_are_an_error() -> None:
    broken = model()
    broken.colours.data[0] = float("nan")
    with pytest.raises(ValueError, match="answers are not finite numbers"):
        opened(broken).predict(Image.new("RGB", (40, 40)), device="cpu")
