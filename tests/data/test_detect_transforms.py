"""Picture, boxes and masks go through one geometry."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn.functional import max_pool2d, pad

from gcvit.data import masks as mask
from gcvit.data.detect_transforms import Detectable, EvalDetection, TrainDetection
from gcvit.data.objects import Objects
from gcvit.data.sampling import Reseeded
from gcvit.data.scenes import ObjectScenes
from gcvit.tasks.detect.settings import LONG_SIDE, SHORT_SIDES

PUBLISHED = {"short": SHORT_SIDES, "long": LONG_SIDE}
PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def rectangles(height: int, width: int, seed: int, count: int = 4) -> tuple[Image.Image, Objects]:
    """A picture of rectangles side by side, each a colour of its own, and the objects that they are."""
    draw = np.random.default_rng(seed)
    pixels = np.zeros((height, width, 3), np.uint8)
    bitmaps = np.zeros((count, height, width), np.uint8)
    for number, bitmap in enumerate(bitmaps):
        left = number * width // count
        right = (number + 1) * width // count - 1
        top = int(draw.integers(0, height // 2))
        below = top + int(draw.integers(5, height // 2))
        bitmap[top:below, left:right] = 1
        pixels[bitmap > 0] = 60 * (number + 1)
    masks = mask.encode(bitmaps)
    xywh = mask.boxes(masks, (height, width))
    labels = np.arange(count, dtype=np.int64)
    return Image.fromarray(pixels), Objects((height, width), xywh, labels, labels < 0, xywh[:, 2] * xywh[:, 3], masks)


def check_agreement(found: Detectable) -> None:
    """Every box is within a pixel of the one around its mask, and both are where the picture has the object."""
    height, width = found.image.shape[1:]
    assert found.masks.shape == (len(found.boxes), height, width)
    assert (found.image.dtype, found.boxes.dtype) == (torch.float32, torch.float32)
    assert (found.labels.dtype, found.masks.dtype) == (torch.int64, torch.uint8)
    assert ((found.boxes[:, 2:] - found.boxes[:, :2]) > 0).all()
    for box, label, bitmap in zip(found.boxes, found.labels, found.masks, strict=True):
        rows, columns = bitmap.any(1).nonzero().flatten(), bitmap.any(0).nonzero().flatten()
        if len(rows):
            around = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
            assert (around - box).abs().max() <= 1
        else:
            assert (box[2:] - box[:2]).min() <= 1
        inner = -max_pool2d(-pad(bitmap[None].float(), (7,) * 4), 15, 1)[0] > 0
        assert torch.allclose(found.image[0][inner], (60 * (label + 1) / 255).float(), atol=0.02)
        low, high = (box + torch.tensor([-4, -4, 4, 4])).clamp(min=0).long().reshape(2, 2).tolist()
        assert not bitmap[: low[1]].any()
        assert not bitmap[high[1] :].any()
        assert not bitmap[:, : low[0]].any()
        assert not bitmap[:, high[0] :].any()


@settings(max_examples=40)
@given(st.integers(0, 10**9), st.integers(40, 150), st.integers(40, 150), st.sampled_from([0.0, 1.0]))
def test_boxes_move_as_masks_and_pictures_do(seed, height, width, crop):
    image, objects = rectangles(height, width, seed)
    transform = TrainDetection(short=(50, 91, 130), long=180, cut=crop, before=(60, 77), sides=(40, 70), **PLAIN)
    random.seed(seed)
    found = transform(image, objects)
    check_agreement(found)
    short, long = sorted(found.image.shape[1:])
    assert short in transform.short or long == 180 or crop
    if not crop:
        assert found.labels.tolist() == [0, 1, 2, 3]
    random.seed(seed)
    alone = TrainDetection(**{**vars(transform), "masks": False})(image, objects)
    assert alone.masks is None
    assert torch.equal(alone.image, found.image)
    assert torch.equal(alone.boxes, found.boxes)


def test_the_published_sizes():
    """Short sides from 480 to 800, the long one up to 1333, rounded to the nearest; both axes by their own ratio."""
    image, objects = rectangles(427, 640, 0)
    seen = set()
    for seed in range(60):
        random.seed(seed)
        found = TrainDetection(cut=0, hflip=0, **PUBLISHED, **PLAIN)(image, objects)
        height, width = found.image.shape[1:]
        seen.add(height)
        scale = min(height / 427, 1333 / 640)
        assert width == int(640 * scale + 0.5)
        ratio = torch.tensor([width / 640, height / 427] * 2)
        assert torch.allclose(found.boxes, torch.from_numpy(objects.boxes) * ratio)
    assert seen == set(SHORT_SIDES)
    whole = EvalDetection(800, LONG_SIDE)
    assert whole(image).shape == (3, 800, 1199)
    assert whole(rectangles(100, 400, 0)[0]).shape == (3, 333, 1333)
    assert whole(Image.new("RGB", (4000, 40))).shape == (3, 32, 1333)


def test_the_cut_is_as_published():
    """Sides from 384 to 600 of a picture whose short side is 400, 500 or 600, then resized."""
    image, objects = rectangles(427, 640, 0)
    shapes = set()
    for seed in range(8):
        random.seed(seed)
        found = TrainDetection(cut=1, **PUBLISHED, **PLAIN)(image, objects)
        check_agreement(found)
        height, width = found.image.shape[1:]
        shapes.add((height, width))
        assert max(height, width) / min(height, width) <= 600 / 384 + 0.01
        assert min(height, width) in SHORT_SIDES
    assert len({round(h / w, 3) for h, w in shapes}) > 6


def test_a_flip_is_one():
    image, objects = rectangles(60, 80, 1)
    size = {"short": (60,), "long": 1333, "cut": 0}
    flipped = TrainDetection(hflip=1, **size, **PLAIN)(image, objects)
    plain = TrainDetection(hflip=0, **size, **PLAIN)(image, objects)
    assert torch.equal(flipped.image.flip(2), plain.image)
    assert torch.equal(flipped.masks.flip(2), plain.masks)
    assert torch.equal(80 - flipped.boxes[:, [2, 0]], plain.boxes[:, [0, 2]])
    assert torch.equal(plain.boxes, torch.from_numpy(objects.boxes))
    assert np.array_equal(plain.masks.numpy(), objects.bitmaps())
    assert torch.equal((plain.image * 255).round().byte(), torch.from_numpy(np.array(image)).permute(2, 0, 1))


def test_normalised_by_mean_and_deviation():
    image = Image.new("RGB", (40, 40), (255, 0, 51))
    pixels = EvalDetection(40, 1333, (0.5, 0.25, 0.2), (0.5, 0.5, 0.1))(image)
    assert torch.allclose(pixels.mean((1, 2)), torch.tensor([1.0, -0.5, 0.0]), atol=1e-6)


@pytest.mark.parametrize("crop", [0, 1])
@pytest.mark.parametrize("size", [(40, 4000), (32, 32), (1, 1), (700, 33)])
def test_no_objects_and_any_size(size, crop):
    none = Objects(size, np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0, bool), np.zeros(0), ())
    for seed in range(4):
        random.seed(seed)
        found = TrainDetection(cut=crop, **PUBLISHED)(Image.new("RGB", size[::-1]), none)
        assert found.boxes.shape == (0, 4)
        assert found.masks.shape == (0, *found.image.shape[1:])
        assert max(found.image.shape) <= 1333


def test_boxes_beyond_the_edge_are_cut_and_those_outside_gone():
    xywh = np.array([[-5, -5, 20, 20], [50, 3, 10, 10], [35, 35, 10, 10], [3, 3, 0, 9]], float)
    some = np.arange(4)
    objects = Objects((40, 40), xywh, some, some < 0, some + 1.0, mask.encode(np.ones((4, 40, 40))))
    found = TrainDetection(short=(40,), long=1333, cut=0, hflip=0)(Image.new("RGB", (40, 40)), objects)
    assert found.boxes.tolist() == [[0, 0, 15, 15], [35, 35, 40, 40]]
    assert found.labels.tolist() == [0, 2]
    assert len(found.masks) == 2


def test_all_that_is_random_is_the_samples_own():
    """So that a run that goes on sees what it would have seen, whatever loads it."""

    class Varied(torch.utils.data.Dataset):
        scenes, transform = ObjectScenes("train", 6), TrainDetection(short=(60, 96, 130), long=200, sides=(40, 90))

        def __len__(self) -> int:
            return 6

        def __getitem__(self, index: int) -> Detectable:
            return self.transform(*self.scenes[index])

    one, other = Reseeded(Varied()), Reseeded(Varied())
    items = [(index, 1000 + index) for index in range(6)]
    first = [one[item] for item in items]
    random.seed(99)
    again = [other[item] for item in reversed(items)][::-1]
    for left, right in zip(first, again, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(left, right, strict=True))
    assert len({tuple(one[(0, seed)].image.shape) for seed in range(20)}) > 3
