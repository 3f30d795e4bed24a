"""The doctor of scenes finds each planted fault, and nothing in clean data."""

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.findings import found
from gcvit.data.doctor import LEAK, REPEAT
from gcvit.data.segment_doctor import COLOURS, CONTRADICTION, UNREADABLE, examine_scenes
from gcvit.data.settings import LabelReading

NOISE = np.random.default_rng(0)


def add(root: Path, name: str, values: list[int], size: tuple[int, int] = (40, 36)) -> None:
    """A picture of noise, and a label map with the values in turn."""
    shape = size[::-1]
    for kind, pixels in (
        ("images", NOISE.integers(0, 256, (*shape, 3), dtype=np.uint8)),
        ("annotations", np.resize(np.array(values, dtype=np.uint8), shape)),
    ):
        path = root / kind / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    """Each label map has 360 pixels of road, sky and tree, and as many that are ignored."""
    root = tmp_path / "data"
    for part, count in (("training", 4), ("validation", 2)):
        for index in range(count):
            add(root, f"{part}/{index}", [0, 1, 2, 255])
    (root / "classes.txt").write_text("road\nsky\ntree\n")
    return root


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_in_clean_data(clean, workers):
    done: list[tuple[int, int]] = []
    health = examine_scenes(clean, workers=workers, progress=lambda *now: done.append(now))
    assert (health.faults, health.notes) == ([], [])
    assert health.pictures == {"training": 4, "validation": 2}
    assert health.pixels == {
        "training": {"road": 1440, "sky": 1440, "tree": 1440},
        "validation": {"road": 720, "sky": 720, "tree": 720},
    }
    assert health.ignored == {"training": 1440, "validation": 720}
    assert health.sides == {"width": [40] * 5, "height": [36] * 5}
    assert done[-1] == (6, 6)


@pytest.mark.parametrize("workers", [0, 2])
def test_every_planted_fault_is_found(clean, workers):
    images, labels = clean / "images", clean / "annotations"
    (clean / "classes.txt").write_text("road\nsky\ntree\ncar\nbus\nmoon\n")
    for name in "abcdefghijkl":
        add(clean, f"training/{name}", [0, 1, 2, 3])
    (labels / "training/a.png").unlink()
    (images / "training/b.png").unlink()
    shutil.copy(images / "training/c.png", images / "training/c.bmp")
    (images / "training/d.png").write_bytes((images / "training/d.png").read_bytes()[:900])
    (labels / "training/e.png").write_bytes(b"")
    shutil.copy(images / "training/f.png", labels / "training/f.png")
    Image.new("L", (36, 40)).save(labels / "training/g.png")
    add(clean, "training/h", [7, 9, 7, 255])
    add(clean, "training/i", [7, 0])
    add(clean, "training/j", [255])
    add(clean, "validation/k", [0, 4])
    shutil.copy(images / "training/0.png", images / "validation/0.png")
    shutil.copy(images / "training/1.png", images / "training/k.png")
    shutil.copy(images / "training/2.png", images / "training/l.png")
    shutil.copy(labels / "training/2.png", labels / "training/l.png")
    health = examine_scenes(clean, workers=workers)
    assert found(health) == [
        ("one name twice", ["c.bmp", "c.png"]),
        ("picture without label map", ["a.png"]),
        ("unreadable picture", ["d.png"]),
        (UNREADABLE, ["e.png"]),
        (COLOURS, ["f.png"]),
        ("two sizes", ["g.png"]),
        ("unknown label", ["h.png", "i.png"]),
        ("unknown label", ["h.png"]),
        ("class that is only held out", ["bus"]),
        (LEAK, ["0.png", "0.png"]),
        (CONTRADICTION, ["1.png", "k.png"]),
        (REPEAT, ["2.png", "l.png"]),
        ("label map without picture", ["b.png"]),
        ("label map without any label", ["j.png"]),
        ("class that never occurs", ["moon"]),
        ("class that is only trained on", ["car"]),
    ]
    details = [finding.detail for finding in health.faults]
    assert details[1] == f"1 missing in {labels}/training"
    assert details[3] == "the file is empty"
    assert details[4].startswith("RGB is a picture in colours")
    assert details[5] == "40×36 px, its labels 36×40"
    said = "value 7: 1,440 px in 2 files; known are 0 to 5 for the classes, 255 ignored"
    assert details[6] == said  # 255 does occur, and only one value can be ignored
    assert details[8] == "in validation, never in training"
    assert details[9] == "the same file, in training and validation"
    assert details[10] == "the same file with different labels"
    assert details[11] == "the same file"
    assert health.pixels["validation"]["bus"] == 720


def test_labels_mean_what_they_mean_in_training(clean):
    health = examine_scenes(clean, LabelReading(ignore_label=None))
    assert [kind for kind, _ in found(health)] == ["unknown label"]
    assert health.ignored == {"training": 0, "validation": 0}  # an unknown label is a fault, and not ignored
    health = examine_scenes(clean, LabelReading(zero_is_ignored=True))
    assert health.pixels["training"] == {"road": 1440, "sky": 1440, "tree": 0}
    assert health.ignored["training"] == 2880
    assert found(health) == [("class that never occurs", ["tree"])]
    ade = clean.rename(clean.parent / "ADEChallengeData2016")
    (ade / "classes.txt").unlink()
    health = examine_scenes(ade)
    assert len(health.pixels["training"]) == 150
    assert health.pixels["validation"]["class 1"] == 720


def test_classes_that_nothing_names_are_counted(clean):
    (clean / "classes.txt").unlink()
    health = examine_scenes(clean)
    assert list(health.pixels["training"]) == ["class 0", "class 1", "class 2"]
    assert [(note.kind, note.detail) for note in health.notes] == [
        ("classes without names", "3 were counted; classes.txt would name them")
    ]
    for file in clean.glob("annotations/*/*.png"):
        file.write_bytes(b"none")
    assert {kind for kind, _ in found(examine_scenes(clean))} == {
        UNREADABLE,
        "part without labels",
        "classes without names",
        "class that never occurs",
    }


def test_a_set_that_is_divided(tmp_path):
    add(tmp_path, "1", [0, 1])
    add(tmp_path, "2", [0, 1])
    for kind in ("images", "annotations"):
        shutil.copy(tmp_path / kind / "1.png", tmp_path / kind / "3.png")
    (tmp_path / "classes.txt").write_text("road\nsky\n")
    health = examine_scenes(tmp_path)
    assert found(health) == [(REPEAT, ["1.png", "3.png"])]
    assert "may train on one and hold out the other" in health.faults[0].detail


def test_what_cannot_be_examined(clean, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="no such folder"):
        examine_scenes(tmp_path / "none")
    for kind in ("images", "labels"):
        (tmp_path / "empty" / kind).mkdir(parents=True)
    with pytest.raises(ValueError, match="no pictures in it"):
        examine_scenes(tmp_path / "empty")
    (clean / "classes.txt").write_text("\n".join(map(str, range(256))))
    with pytest.raises(ValueError, match="255 is one of them"):
        examine_scenes(clean)
    (clean / "classes.txt").unlink()
    monkeypatch.setattr("gcvit.data.doctor.look_at", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(ValueError, match=r"a process that loads images has died .*Killed.*Lower workers \(1\)"):
        examine_scenes(clean, workers=1)


def kinds(root: Path) -> list[str]:
    return [finding.kind for finding in examine_scenes(root).faults]


def test_what_would_stop_a_run_later_is_a_fault_now(clean):
    for file in (clean / "annotations/validation").iterdir():
        Image.fromarray(np.full((36, 40), 255, np.uint8)).save(file)
    assert kinds(clean) == ["part without labels"]
    for file in [*(clean / "annotations/validation").iterdir(), *(clean / "images/validation").iterdir()]:
        file.unlink()
    assert kinds(clean) == ["part without pictures"]


def test_one_picture_cannot_be_divided(tmp_path):
    add(tmp_path / "data", "0", [0, 1, 2])
    (tmp_path / "data" / "classes.txt").write_text("road\nsky\ntree\n")
    assert kinds(tmp_path / "data") == ["part without pictures"]


@pytest.mark.parametrize("named", [True, False])
def test_masks_of_0_and_255_are_of_one_class(tmp_path, named):
    for index in range(4):
        add(tmp_path / "data", str(index), [0, 255])
    if named:
        (tmp_path / "data" / "classes.txt").write_text("ground\nthing\n")
    (finding,) = examine_scenes(tmp_path / "data").faults
    assert finding.kind == "only one class has pixels to train on"
    assert "255 is ignored: if it is a class, write it as 1 or less" in finding.detail
