"""Tiles neither lose an object nor add one at a seam, by a detector that finds exactly what a picture shows."""

from collections.abc import Sequence
from math import inf
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou

from gcvit.data import masks as run_lengths
from gcvit.data.detect_transforms import seen_at
from gcvit.data.objects import Objects
from gcvit.data.scenes import ObjectScenes
from gcvit.tasks.detect import inference
from gcvit.tasks.detect.inference import OVERLAP, Found, find_in_tiles
from gcvit.tasks.detect.objects import Detections
from gcvit.tasks.detect.settings import HeadConfig

SCENES, SIZE, TILE = 40, (160, 240), 80
SMALL = int(OVERLAP * TILE) - 4  # pixels: sides of objects that some tile shows whole, whatever lies where
GLIMPSE = 48  # pixels
GRID = 32  # pixels a side, of scenes that are put together for small objects


def scene(index: int, *, small: bool) -> tuple[np.ndarray, np.ndarray]:
    """Bitmaps and labels of a built-in scene, or of many side by side."""
    if not small:
        objects = ObjectScenes("val", index + 1, SIZE)[index][1]
        return objects.bitmaps(), objects.labels
    rows, columns = (side // GRID for side in SIZE)
    scenes, bitmaps, labels = ObjectScenes("val", (index + 1) * rows * columns, GRID), [], []
    for place in range(rows * columns):
        objects = scenes[index * rows * columns + place][1]
        top, left = GRID * (place // columns), GRID * (place % columns)
        around = [(0, 0), (top, SIZE[0] - top - GRID), (left, SIZE[1] - left - GRID)]
        bitmaps.append(np.pad(objects.bitmaps(), around))
        labels.append(objects.labels)
    return np.concatenate(bitmaps), np.concatenate(labels)


def places(size: tuple[int, int]) -> Tensor:
    """An image in whose pixels stands where they are: x, y and nothing."""
    y, x = (torch.arange(side, dtype=torch.float32) + 0.5 for side in size)
    return torch.stack([x.expand(size), y[:, None].expand(size), torch.zeros(size)])


class Perfect:
    """Finds all objects of a scene of which a view of `places` shows something, each as far as it is shown; glimpses of
    a few pixels, which no mask of 28×28 cells tells the owner of, are overlooked.

    seed: of the scores, which say nothing of how much is seen. blind: the whole picture shows it no object, as where
    all are too small for it.
    """

    def __init__(self, bitmaps: np.ndarray, labels: np.ndarray, seed: int, *, blind: bool, masks: bool) -> None:
        self.bitmaps, self.labels, self.blind, self.used = bitmaps, labels, blind, HeadConfig(masks=masks)
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, images: Tensor) -> list[Detections]:
        return [self.find(image) for image in images]

    def find(self, image: Tensor) -> Detections:
        (left, across), (top, down) = (_axis(line) for line in (image[0, 4], image[1, :, 4]))
        height, width = (round(side * scale) for side, scale in zip(image.shape[1:], (down, across), strict=True))
        if self.blind and (height, width) == self.bitmaps.shape[1:]:
            return self.detections([], [], [])
        boxes, labels, masks = [], [], []
        for bitmap, label in zip(self.bitmaps, self.labels, strict=True):
            part = bitmap[round(top) :, round(left) :][:height, :width]
            rows, columns = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
            if part.sum() >= min(GLIMPSE, bitmap.sum()):
                box = torch.tensor([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
                boxes.append(box / torch.tensor([across, down, across, down]))
                labels.append(int(label))
                shown = torch.from_numpy(part[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
                masks.append(torch.nn.functional.interpolate(shown[None, None].float(), (28, 28))[0, 0])
        return self.detections(boxes, labels, masks)

    def detections(self, boxes: list[Tensor], labels: list[int], masks: list[Tensor]) -> Detections:
        scores = 0.5 + 0.5 * torch.rand(len(boxes), generator=self.generator)
        none = torch.zeros(0, 4), torch.zeros(0, 28, 28)
        stacked, cells = (torch.stack(x) if x else empty for x, empty in zip((boxes, masks), none, strict=True))
        order = scores.argsort(descending=True)
        named = torch.tensor(labels, dtype=torch.int64)[order]
        return Detections(stacked[order], scores[order], named, cells[order] if self.used.masks else None)


def _axis(line: Tensor) -> tuple[float, float]:
    """Where a line of places begins, and how far one pixel is from the next; at the ends interpolation bends it."""
    step = float(line[-5] - line[4]) / (len(line) - 9)
    return float(line[4]) - 4.5 * step, step


def faults(
    *, small: bool = False, tile: int = TILE, masks: bool = True, scenes: Sequence[int] = range(SCENES)
) -> tuple[int, int]:
    """How many objects are lost and how many added. small: scenes of many objects, of which the whole picture shows
    none; those that no tile must show may be lost."""
    lost, added = 0, 0
    for index in scenes[: SCENES // 8] if small else scenes:
        bitmaps, labels = scene(index, small=small)
        truth = corners(bitmaps)
        found = look(bitmaps, labels, index, blind=small, tile=tile, masks=masks)
        wanted = (truth[:, 2:] - truth[:, :2]).amax(1) <= (SMALL if small else max(SIZE))
        same = torch.from_numpy(found.labels[:, None] == labels)
        alike = (box_iou(torch.from_numpy(found.boxes).float(), truth) > 0.9) & same
        lost += int((wanted & ~alike.any(0)).sum())
        added += len(found.labels) - int(alike.any(0).sum())
    return lost, added


def corners(bitmaps: np.ndarray) -> Tensor:
    return torch.from_numpy(
        Objects(SIZE, run_lengths.boxes(run_lengths.encode(bitmaps), SIZE), *[np.zeros(0)] * 3).boxes
    )


def look(
    bitmaps: np.ndarray, labels: np.ndarray, seed: int, *, blind: bool = False, tile: int = TILE, masks: bool = True
) -> Found:
    size = (bitmaps.shape[1], bitmaps.shape[2])
    model: Any = Perfect(bitmaps, labels, seed, blind=blind, masks=masks)
    (found,) = find_in_tiles(model, places(size)[None], size, tile, lambda shown: seen_at(shown, 120, 400))
    return found


@pytest.mark.parametrize("tile", [TILE, 64, 151])
def test_a_seam_neither_loses_nor_adds_an_object(tile: int) -> None:
    assert faults(tile=tile) == (0, 0)
    assert faults(tile=tile, masks=False) == (0, 0)


def test_what_something_hides_at_a_seam_is_no_object_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar with a post before it, where a tile ends: the part before the post touches no edge."""
    assert inference._starts(SIZE[1], TILE) == [0, 53, 107, 160]
    bar, post, other = np.zeros((3, *SIZE), np.uint8)
    bar[60:80, 60:180], post[40:100, 100:140], other[62:70, 64:72] = 1, 1, 1
    bar[(post > 0) | (other > 0)] = 0
    bitmaps, labels = np.stack([bar, post, other]), np.array([0, 1, 0])
    for seed in range(5):
        found = look(bitmaps, labels, seed)
        assert sorted(found.labels.tolist()) == [0, 0, 1], "a real one before the bar stays"
    monkeypatch.setattr(inference, "_parts", lambda found, windows: torch.zeros(len(windows), dtype=torch.bool))
    assert max(len(look(bitmaps, labels, seed).labels) for seed in range(5)) > 3


def test_what_is_hardly_believed_takes_nothing_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large box over two small objects of its class, each in a tile that shows a part of it."""
    boxes = torch.tensor([[10.0, 10, 30, 30], [60, 10, 80, 30], [0, 0, 120, 60]])
    windows = torch.tensor([[0.0, 0, 50, 50], [50, 0, 100, 50], [-inf, -inf, inf, inf]])
    for score, parts in ((0.06, [False, False, False]), (0.9, [True, True, False])):
        scores, labels = torch.tensor([0.95, 0.95, score]), torch.zeros(3, dtype=torch.int64)
        found = Detections(boxes, scores, labels, torch.ones(3, 28, 28))
        assert inference._parts(found, windows).tolist() == parts
    monkeypatch.setattr(inference, "PAIRED", 2)
    assert inference._parts(found, windows).tolist() == parts


def test_small_objects_that_tiles_alone_show_are_all_there() -> None:
    assert faults(small=True) == (0, 0)


def no_nms(boxes: Tensor, scores: Tensor, labels: Tensor, iou: float) -> Tensor:
    return scores.argsort(descending=True)


def without_the_last(side: int, tile: int) -> list[int]:
    return STARTS(side, tile)[:-1] or [0]


STARTS = inference._starts


@pytest.mark.parametrize(
    ("name", "bug", "small", "place"),
    [
        ("CUT", 40.0, True, 0),  # so is nothing near an edge
        ("OVERLAP", 0.0, True, 0),
        ("class_wise_nms", no_nms, False, 1),
        ("_starts", without_the_last, True, 0),
    ],
)
def test_planted_bugs_are_found(monkeypatch: pytest.MonkeyPatch, name: str, bug: Any, small: bool, place: int) -> None:
    """place: 0 where objects are lost, 1 where they are added."""
    monkeypatch.setattr(inference, name, bug)
    assert faults(small=small)[place] > 0


def test_what_a_tile_cuts_off_would_be_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "CUT", -1e9)
    assert faults(masks=False)[1] > 0


def test_tiles_at_a_wrong_place_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes of tiles that are taken for boxes of the picture."""
    scaled = inference._scaled

    def shifted(found: Detections, seen: tuple[int, int], size: tuple[int, int]) -> Detections:
        here = scaled(found, seen, size)
        return here if size == SIZE else here._replace(boxes=here.boxes + 7)

    monkeypatch.setattr(inference, "_scaled", shifted)
    _, added = faults()
    assert added > 0
    assert faults(small=True)[0] > 0


def test_the_law_is_tried_on_seams() -> None:
    """Objects that no tile shows whole, and small ones that a tile's edge goes through."""
    rows, columns = (inference._starts(side, TILE) for side in SIZE)
    cut, large = 0, 0
    for index in range(8):
        for left, top, right, below in corners(scene(index, small=True)[0]).tolist():
            across = any(left < x < right for c in columns for x in (c, c + TILE))
            cut += across and max(right - left, below - top) <= SMALL
        for left, top, right, below in corners(scene(index, small=False)[0]).tolist():
            shown = any(x <= left and right <= x + TILE for x in columns)
            large += not (shown and any(y <= top and below <= y + TILE for y in rows))
    assert cut > 20
    assert large >= 3
