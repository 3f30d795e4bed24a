"""What is true of pictures alone, the doctor of each task finds, in the same words."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gcvit.data.classify_doctor import examine
from gcvit.data.coco_doctor import examine_coco
from gcvit.data.doctor import LEAK, NARROW, PASSED_OVER, REPEAT, Health
from gcvit.data.segment_doctor import examine_scenes
from gcvit.data.settings import PixelFormat

from .coco_sets import annotation, content, write

SIZE = (40, 48)
Write = Callable[[Path], None]


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def photo(seed: int) -> Write:
    return lambda path: Image.fromarray(noise(seed)).save(path)


def numbers(values: np.ndarray) -> Write:
    def save(path: Path) -> None:
        np.save(path, values) if path.suffix == ".npy" else Image.fromarray(values).save(path)

    return save


def deep(seed: int) -> np.ndarray:
    """Pictures of 12 bits in 16."""
    return noise(seed)[..., 0].astype(np.uint16) * 16


def broken(value: float, seed: int = 0) -> np.ndarray:
    """Floats from 0 to 1, and one that is none."""
    found = noise(seed)[..., 0].astype(np.float32) / 255
    found[7, 9] = value
    return found


def classes(root: Path, pictures: dict[str, Write]) -> None:
    for number, (name, save) in enumerate(pictures.items()):
        part, file = name.split("/")
        for label in ("cat", "dog"):
            (root / part / label).mkdir(parents=True, exist_ok=True)
        save(root / part / ("cat", "dog")[number % 2] / file)


def scenes(root: Path, pictures: dict[str, Write]) -> None:
    (root / "classes.txt").parent.mkdir(parents=True, exist_ok=True)
    (root / "classes.txt").write_text("road\nsky\n")
    for name, save in pictures.items():
        part, file = name.split("/")
        for kind in ("images", "annotations"):
            (root / kind / part).mkdir(parents=True, exist_ok=True)
        save(root / "images" / part / file)
        if not file.endswith(".txt"):
            labels = np.resize(np.array([0, 1], np.uint8), SIZE)
            Image.fromarray(labels).save((root / "annotations" / part / file).with_suffix(".png"))


def objects(root: Path, pictures: dict[str, Write]) -> None:
    parts: dict[str, list[str]] = {}
    for name, save in pictures.items():
        part, file = name.split("/")
        (root / part).mkdir(parents=True, exist_ok=True)
        save(root / part / file)
        if not file.endswith(".txt"):
            parts.setdefault(part, []).append(file)
    for part, files in parts.items():
        rows = [{"id": i, "file_name": file, "height": SIZE[0], "width": SIZE[1]} for i, file in enumerate(files, 1)]
        found = [annotation(2 * i + label, i, label) for i in range(1, 1 + len(files)) for label in (1, 2)]
        for one in found:
            if one["category_id"] == 2:
                one |= {"bbox": [1, 1, 8, 8], "segmentation": [[1, 1, 9, 1, 9, 9, 1, 9]], "area": 64}
        write(root / part / "_annotations.coco.json", content(0, found, images=rows))


TASKS = {"classify": (classes, examine), "segment": (scenes, examine_scenes), "detect": (objects, examine_coco)}
CLEAN = {f"train/{seed}.png": photo(seed) for seed in range(4)} | {f"val/{seed}.png": photo(seed) for seed in (4, 5)}


def examined(task: str, root: Path, pictures: dict[str, Write], pixels: PixelFormat | None = None) -> Health:
    write_set, look = TASKS[task]
    write_set(root, pictures)
    return look(root, pixels=pixels or PixelFormat())


def told(health: Health) -> list[tuple[str, list[str]]]:
    return [(one.kind, [Path(file).name for file in one.files]) for one in health.faults + health.notes]


@pytest.mark.parametrize("task", TASKS)
def test_nothing_in_clean_data_and_the_levels_of_what_is_trained_on(task, tmp_path):
    health = examined(task, tmp_path, CLEAN)
    assert told(health) == []
    pixels = np.concatenate([noise(seed).reshape(-1, 3) for seed in range(4)]) / 255
    np.testing.assert_allclose(health.mean, pixels.mean(0), rtol=1e-6)
    np.testing.assert_allclose(health.std, pixels.std(0), rtol=1e-6)
    assert health.sides == {"width": [SIZE[1]] * 5, "height": [SIZE[0]] * 5}


@pytest.mark.parametrize("task", TASKS)
def test_repeats_by_pixels_the_worst_first(task, tmp_path):
    """Whatever the file format; between two parts that are both held out nothing leaks."""
    more = {"train/a.bmp": photo(0), "train/x.bmp": photo(9), "val/b.bmp": photo(1), "test/c.bmp": photo(4)}
    health = examined(task, tmp_path, CLEAN | more | {"test/d.png": photo(7)})
    found = [(kind, names) for kind, names in told(health) if kind in (LEAK, REPEAT)]
    assert found[0] == (LEAK, ["1.png", "b.bmp"])
    assert [kind for kind, _ in found].count(LEAK) == 1
    leak = next(one for one in health.faults if one.kind == LEAK)
    assert "the same pixels in different files" in leak.detail
    assert "train and val" in leak.detail


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("suffix", ["npy", "tif"])
def test_floats_that_are_no_numbers_are_named_and_spoil_no_statistics(task, value, suffix, tmp_path):
    floats = {
        f"{part}/{seed}.tif": numbers(broken(0.5, seed)) for part, seed in (("train", 1), ("train", 2), ("val", 3))
    }
    pixels = PixelFormat(3, (0.0, 1.0))
    health = examined(task, tmp_path / "a", floats | {f"train/bad.{suffix}": numbers(broken(value))}, pixels)
    (fault,) = [one for one in health.faults if one.kind.startswith("unreadable")]
    assert [Path(file).name for file in fault.files] == [f"bad.{suffix}"]
    assert "not finite" in fault.detail
    clean = examined(task, tmp_path / "b", floats, pixels)
    assert np.isfinite(health.mean + health.std).all()
    assert (health.mean, health.std) == (clean.mean, clean.std)


@pytest.mark.parametrize("task", TASKS)
def test_numbers_that_use_a_fraction_of_their_range(task, tmp_path):
    files = {f"{part}/{seed}.png": numbers(deep(seed) // 8) for part, seed in (("train", 1), ("train", 2), ("val", 3))}
    health = examined(task, tmp_path, files)
    (fault,) = [one for one in health.faults if one.kind == NARROW]
    assert {Path(file).name for file in fault.files} == {"1.png", "2.png", "3.png"}
    assert "--value-range 0 511" in fault.detail


@pytest.mark.parametrize("task", TASKS)
def test_files_that_are_passed_over(task, tmp_path):
    texts = {f"train/{number}.txt": lambda path: path.write_text("one") for number in range(20)}
    health = examined(task, tmp_path, CLEAN | texts)
    assert "most files are not read" in [one.kind for one in health.faults]
    assert [one.detail for one in health.notes if one.kind == PASSED_OVER] == ["20 .txt"]
