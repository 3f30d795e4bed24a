"""The doctor finds each planted fault, and nothing in clean data."""

import os
import shutil
import signal
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.findings import found
from gcvit.data.classify_doctor import CONTRADICTION, examine
from gcvit.data.doctor import LEAK, REPEAT

NOISE = np.random.default_rng(0)


def photo(path: Path, size: tuple[int, int] = (40, 36)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(NOISE.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    for split, count in (("train", 4), ("val", 2)):
        for name in ("cat", "dog"):
            for index in range(count):
                photo(tmp_path / "data" / split / name / f"{index}.png")
    return tmp_path / "data"


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_in_clean_data(clean, workers):
    done: list[tuple[int, int]] = []
    health = examine(clean, workers=workers, progress=lambda *now: done.append(now))
    assert (health.faults, health.notes) == ([], [])
    assert health.counts == {"train": {"cat": 4, "dog": 4}, "val": {"cat": 2, "dog": 2}}
    assert health.sides == {"width": [40] * 5, "height": [36] * 5}
    assert done[-1] == (12, 12)


@pytest.mark.filterwarnings("ignore::gcvit.data.splits.IndexNote")
@pytest.mark.parametrize("packed", [False, True])
def test_every_planted_fault_is_found(clean, tmp_path, packed):
    train, val = clean / "train", clean / "val"
    photo(train / "cat/tiny.png", (31, 200))
    Image.new("RGB", (12_001, 2_000)).save(train / "dog/huge.png")
    (train / "cat/broken.png").write_bytes((train / "cat/0.png").read_bytes()[:900])
    (train / "dog/empty.png").touch()
    shutil.copy(train / "cat/1.png", train / "cat/again.png")
    with Image.open(train / "dog/1.png") as image:
        image.save(train / "cat/other.bmp")  # other bytes, the same pixels
    shutil.copy(train / "dog/2.png", val / "dog/seen.png")
    shutil.copy(train / "dog/3.png", val / "cat/wrong.png")
    photo(train / "bird/1.png")
    for index in range(40):
        photo(train / f"fish/{index}.png", (32, 32))
        photo(val / f"fish/{index}.png", (32, 32))
    if packed:
        with tarfile.open(tmp_path / "packed.tar", "w") as tar:
            tar.add(clean, ".")
    health = examine(tmp_path / "packed.tar" if packed else clean, workers=2)
    assert found(health) == [
        ("class on one side only", ["bird"]),
        ("unreadable", ["broken.png"]),
        ("unreadable", ["empty.png"]),
        ("tiny", ["tiny.png"]),
        (LEAK, ["2.png", "seen.png"]),
        (LEAK, ["3.png", "wrong.png"]),
        (CONTRADICTION, ["other.bmp", "1.png"]),
        (REPEAT, ["1.png", "again.png"]),
        ("unbalanced classes", []),
        ("huge", ["huge.png"]),
    ]
    details = {finding.files[-1].rpartition("/")[2]: finding.detail for finding in health.faults}
    assert details["bird"] == "missing in val"
    assert details["empty.png"] == "the file is empty"
    assert details["tiny.png"] == "31×200 px"
    assert details["seen.png"] == "the same file in dog, in train and val"
    assert details["wrong.png"] == "the same file in cat and dog, in train and val"
    assert details["1.png"] == "the same pixels in different files in cat and dog"
    assert details["again.png"] == "the same file in cat"
    assert health.notes[0].detail == "40 images of fish, 1 of bird"
    assert health.counts["train"] == {"bird": 1, "cat": 8, "dog": 6, "fish": 40}


def test_classes_without_images_and_sets_that_are_divided(tmp_path):
    photo(tmp_path / "cat/1.png")
    shutil.copy(tmp_path / "cat/1.png", tmp_path / "cat/2.png")
    (tmp_path / "dog").mkdir()
    health = examine(tmp_path)
    assert found(health) == [("class without images", ["dog"]), (REPEAT, ["1.png", "2.png"])]
    assert "may train on one and hold out the other" in health.faults[1].detail
    shutil.rmtree(tmp_path / "dog")
    assert found(examine(tmp_path))[0] == ("only one class", ["cat"])


def test_a_set_of_nothing_but_damaged_images(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(b"none")
    health = examine(tmp_path)
    assert [finding.kind for finding in health.faults] == ["unreadable"] * 2
    assert health.sides == {}
    with pytest.raises(ValueError, match="no such folder"):
        examine(tmp_path / "none")


def test_a_reading_process_that_dies_is_an_error(clean, monkeypatch):
    monkeypatch.setattr("gcvit.data.doctor.decode", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(ValueError, match=r"a process that loads images has died .*Killed.*Lower workers \(1\)"):
        examine(clean, workers=1)
