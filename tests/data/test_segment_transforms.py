"""Picture and labels go through one geometry, which is tested on their coordinates."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import InterpolationMode

from gcvit.data.label_maps import IGNORED
from gcvit.data.segment_transforms import DRAWS, EvalScene, TrainScene, resized_to

SIDES = (90, 120)  # of the picture of coordinates
PLAIN = {"photometric": False, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def seeded(seed: int) -> None:
    random.seed(seed)
    torch.manual_seed(seed)


def noise(height: int, width: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def disagreement(axis: int, transform: TrainScene) -> float:
    """How far, in pixels of the source, what labels say of where they are is from what the picture says.

    Red is the place of a pixel's centre along `axis`, as a share of the side; its label is the pixel's number. Where
    the picture ends, antialiasing bends the red; that margin is left out.
    """
    side = SIDES[axis]
    numbers = np.arange(side)[:, None] if axis == 0 else np.arange(side)[None]
    numbers = np.broadcast_to(numbers, SIDES)
    red = np.round((numbers + 0.5) / side * 255).astype(np.uint8)
    pixels, labels = transform(Image.fromarray(np.stack([red] * 3, axis=2)), numbers.astype(np.int16))
    margin = 2 + 2 / transform.scale[0]
    inside = (labels >= margin) & (labels < side - margin)
    assert inside.sum() > 100
    return float((pixels[0] * side - (labels + 0.5))[inside].abs().max())


# A label is that of the pixel which a centre lies in, so half a pixel away at most; and red has 255 steps, twice.
ALLOWED = 0.5 + 1.2 * max(SIDES) / 255
FACTORS = (1 / 3, 0.4, 0.5, 0.77, 1.0, 1.4, 2.0)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("hflip", [0.0, 1.0])
def test_one_geometry(axis, factor, hflip):
    for seed in range(4):
        seeded(seed)
        transform = TrainScene(scale=(factor, factor), crop=(26, 34), cat_max_ratio=1.0, hflip=hflip, **PLAIN)
        assert disagreement(axis, transform) <= ALLOWED


@pytest.mark.parametrize("axis", [0, 1])
def test_half_a_pixel_would_be_noticed(axis, monkeypatch):
    """InterpolationMode.NEAREST takes a pixel's corner for its centre."""
    wrong = SimpleNamespace(NEAREST_EXACT=InterpolationMode.NEAREST)
    monkeypatch.setattr("gcvit.data.segment_transforms.InterpolationMode", wrong)
    seeded(0)
    transform = TrainScene(scale=(1 / 3, 1 / 3), crop=(26, 34), cat_max_ratio=1.0, **PLAIN)
    assert disagreement(axis, transform) > ALLOWED


def test_a_flip_is_a_flip():
    image, labels = noise(40, 50), np.arange(2000, dtype=np.int16).reshape(40, 50)
    for hflip in (0.0, 1.0):
        pixels, truth = TrainScene(scale=(1, 1), crop=(40, 50), hflip=hflip, **PLAIN)(image, labels)
        order = slice(None, None, -1 if hflip else 1)
        assert (truth.numpy() == labels[:, order]).all()
        assert torch.allclose(pixels * 255, torch.from_numpy(np.asarray(image)[:, order].copy()).permute(2, 0, 1) + 0.0)


@settings(max_examples=40)
@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    crop=st.tuples(st.integers(32, 50), st.integers(32, 50)),
    scale=st.floats(0.3, 2.0),
    seed=st.integers(0, 1000),
)
def test_what_is_missing_is_the_mean_colour_and_ignored(size, crop, scale, seed):
    seeded(seed)
    labels = np.zeros(size, dtype=np.int16)
    pixels, truth = TrainScene(scale=(scale, scale), crop=crop)(noise(*size, seed), labels)
    assert (pixels.shape, pixels.dtype) == ((3, *crop), torch.float32)
    assert (truth.shape, truth.dtype) == (crop, torch.int64)
    height, width = (min(side, most) for side, most in zip(resized_to(size, None, scale), crop, strict=True))
    padded = torch.ones(crop, dtype=torch.bool)
    padded[:height, :width] = False
    assert (truth[padded] == IGNORED).all()
    assert (pixels[:, padded] == 0).all()
    assert (truth[~padded] == 0).all()
    assert pixels.isfinite().all()


def largest_share(labels: torch.Tensor) -> float:
    """Of the commonest class in what has one; 1 where there are not two."""
    counts = labels[labels != IGNORED].unique(return_counts=True)[1]
    return float(counts.max() / counts.sum()) if len(counts) > 1 else 1.0


def test_no_class_fills_a_crop_where_another_crop_is_there():
    """In a third of all crops class 0 has 0.75 or less of what is labelled, so ten draws find one in 98% of cases."""
    labels = np.zeros((40, 120), dtype=np.int16)
    labels[:, 54:66] = np.arange(12) % 3 + 1
    labels[:20, 60:] = IGNORED
    image = noise(40, 120)

    def share_above(ratio: float) -> float:
        transform = TrainScene(scale=(1, 1), crop=(32, 32), cat_max_ratio=ratio)
        shares = []
        for seed in range(200):
            seeded(seed)
            shares.append(largest_share(transform(image, labels)[1]))
        return float((np.array(shares) >= 0.75).mean())

    assert share_above(0.75) < 0.06
    assert share_above(1.0) > 0.5


@pytest.mark.parametrize("labels", [np.zeros((50, 60)), np.full((50, 60), IGNORED)])
def test_the_last_draw_is_taken_where_none_will_do(labels, monkeypatch):
    drawn = []

    def recorded(low: int, high: int) -> int:
        drawn.append(draw(low, high))
        return drawn[-1]

    draw = random.randint
    monkeypatch.setattr("gcvit.data.segment_transforms.random.randint", recorded)
    seeded(3)
    image = noise(50, 60)
    pixels, _ = TrainScene(scale=(1, 1), crop=(32, 32), hflip=0, **PLAIN)(image, labels.astype(np.int16))
    assert len(drawn) == 2 * DRAWS
    top, left = drawn[-2:]
    assert (pixels.permute(1, 2, 0) * 255).round().byte().numpy().tolist() == np.asarray(image)[
        top : top + 32, left : left + 32
    ].tolist()


def test_same_seeds_same_result():
    image, labels = noise(70, 80), np.random.default_rng(1).integers(-1, 999, (70, 80)).astype(np.int16)
    transform, found = TrainScene(crop=(48, 40)), []
    for seed in (5, 5, 6):
        seeded(seed)
        np.random.seed(len(found))  # of no importance
        found.append(transform(image, labels))
    assert all(torch.equal(a, b) for a, b in zip(found[0], found[1], strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(found[0], found[2], strict=True))


def test_colours_vary_and_labels_do_not():
    image, labels = noise(70, 80), np.random.default_rng(1).integers(-1, 999, (70, 80)).astype(np.int16)
    changed = 0
    for seed in range(20):
        outcomes = []
        for photometric in (False, True):
            seeded(seed)
            outcomes.append(TrainScene(crop=(48, 40), photometric=photometric)(image, labels))
        (plain, truth), (varied, same) = outcomes
        assert torch.equal(truth, same)
        changed += not torch.equal(plain, varied)
    assert changed >= 15


def test_channels_are_not_exchanged():
    """Red may become orange, but not blue."""
    image, labels = Image.new("RGB", (32, 32), (200, 40, 40)), np.zeros((32, 32), dtype=np.int16)
    transform = TrainScene(crop=(32, 32), scale=(1, 1), **(PLAIN | {"photometric": True}))
    for seed in range(60):
        seeded(seed)
        red, green, blue = transform(image, labels)[0].mean(dim=(1, 2)).tolist()
        assert red >= max(green, blue)


# Worked by hand: factor = min(long limit / long side, short limit / short side), sides rounded half up.
KEPT = [
    ((512, 683), (2048, 512), (512, 683)),
    ((683, 512), (2048, 512), (683, 512)),
    ((256, 341), (2048, 512), (512, 682)),
    ((300, 2000), (2048, 512), (307, 2048)),
    ((100, 4000), (2048, 512), (51, 2048)),
    ((1, 500), (2048, 512), (4, 2048)),
    ((2000, 1), (512, 512), (512, 1)),
    ((360, 480), (512, 2048), (512, 683)),
    ((360, 480), None, (360, 480)),
]


@pytest.mark.parametrize(("size", "limits", "expected"), KEPT)
def test_evaluation_keeps_shape_within_limits(size, limits, expected):
    assert resized_to(size, limits) == expected
    pixels = EvalScene(resize=limits)(noise(*size))
    assert (pixels.shape, pixels.dtype) == ((3, *expected), torch.float32)
    assert pixels.isfinite().all()


@given(
    size=st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    limits=st.tuples(st.integers(32, 3000), st.integers(32, 3000)),
)
def test_limits(size, limits):
    found = resized_to(size, limits)
    assert max(found) <= max(limits)
    assert min(found) <= min(limits)
    assert max(found) == max(limits) or min(found) == min(limits)
    factor = min(max(limits) / max(size), min(limits) / min(size))
    assert all(new == 1 or abs(new - old * factor) <= 0.5 + 1e-9 for new, old in zip(found, size, strict=True))


def test_evaluation_normalises():
    pixels = EvalScene(mean=(0.5, 0.25, 0.0), std=(0.5, 1.0, 2.0))(Image.new("RGB", (3, 2), (255, 0, 51)))
    assert torch.allclose(pixels[:, 0, 0], torch.tensor([1.0, -0.25, 0.1]))
    assert pixels.shape == (3, 2, 3)


@pytest.mark.parametrize("size", [(1, 200), (200, 1), (1, 1)])
def test_a_picture_of_one_pixels_height(size):
    seeded(0)
    transform = TrainScene(resize=(256, 64), crop=(32, 48))
    pixels, labels = transform(noise(*size), np.full(size, 7, dtype=np.int16))
    assert pixels.isfinite().all()
    assert set(labels.unique().tolist()) <= {7, IGNORED}
    assert (labels == 7).any()
    assert EvalScene()(noise(*size)).shape == (3, *size)
