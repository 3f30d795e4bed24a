"""The transforms equal timm's for the same settings, and stay cheap on images of any shape."""

import random
import time

import numpy as np
import pytest
import timm.data
import torch
from PIL import Image

from gcvit.data.augment import eval_transform, train_transform
from gcvit.data.settings import is_rand_augment

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)).resize((90, 71))
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


@pytest.mark.parametrize("size", [48, (48, 64)])
@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize("crop_pct", [0.875, 1.0])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("image", [PHOTO, PHOTO.crop((0, 0, 40, 71)), PHOTO.resize((640, 10))])
def test_evaluation_equals_timm(size, crop_mode, crop_pct, interpolation, image):
    settings = {"crop_mode": crop_mode, "crop_pct": crop_pct, "interpolation": interpolation}
    ours = eval_transform(size=size, mean=MEAN, std=STD, **settings)(image)
    sides = (3, size, size) if isinstance(size, int) else (3, *size)
    config = {"input_size": sides, "mean": MEAN, "std": STD, **settings}
    theirs = timm.data.create_transform(**config)(image)
    assert ours.shape == sides
    assert ours.dtype == torch.float32
    assert torch.equal(ours, theirs)


def test_evaluation_of_very_long_images_is_cheap_and_shows_their_middle():
    strip = Image.new("RGB", (60_000, 1), (255, 0, 0))
    strip.paste((0, 0, 255), (29_000, 0, 31_000, 1))
    start = time.process_time()
    for image in (strip, strip.transpose(Image.Transpose.ROTATE_90)):
        result = eval_transform(size=224, mean=(0, 0, 0), std=(1, 1, 1))(image)
        assert result.shape == (3, 224, 224)
        assert (result.amax((1, 2)) == torch.tensor([0.0, 0.0, 1.0])).all()
    assert time.process_time() - start < 5  # whole, each would be a picture of 60 gigapixels


def test_one_pixel():
    assert eval_transform(size=32)(Image.new("RGB", (1, 1))).shape == (3, 32, 32)
    assert train_transform(size=32)(Image.new("RGB", (1, 1))).shape == (3, 32, 32)


def test_training_equals_timm_and_is_random():
    transform = train_transform(size=(32, 40), mean=MEAN, std=STD)
    theirs = timm.data.create_transform(
        (3, 32, 40),
        is_training=True,
        auto_augment="rand-m9-mstd0.5-inc1",
        re_prob=0.25,
        re_mode="pixel",
        interpolation="random",
        mean=MEAN,
        std=STD,
    )
    results = []
    for seed in range(6):
        for pipeline in (transform, theirs):
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            results.append(pipeline(PHOTO))
        assert torch.equal(results[-1], results[-2])
    assert results[0].shape == (3, 32, 40)
    assert not torch.equal(results[0], results[2])


def test_with_everything_off_training_changes_nothing():
    image = PHOTO.resize((32, 32))
    whole = {"scale": (1, 1), "ratio": (1, 1), "interpolation": "bicubic"}
    off = {"hflip": 0, "color_jitter": 0, "rand_augment": None, "random_erasing": 0}
    found = train_transform(size=32, **whole, **off)(image)
    assert torch.equal(found, eval_transform(size=32, crop_pct=1.0)(image))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, "at least 1 pixel"),
        ({"size": 32, "hflip": 1.5}, "hflip is a probability"),
        ({"size": 32, "rand_augment": "strong"}, "rand-m9-mstd0.5-inc1"),
    ],
)
def test_wrong_training_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        train_transform(**settings)


@pytest.mark.parametrize(("settings", "message"), [({"crop_pct": 0}, "crop_pct"), ({"crop_mode": "cut"}, "cut")])
def test_wrong_evaluation_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        eval_transform(size=32, **settings)


def test_rand_augment_strings_are_those_that_timm_reads_in_full():
    for policy in ("rand", "rand-m9-mstd0.5-inc1", "rand-n3-mmax30-p0.7", "rand-mstd101-tweights", "rand-t3aw-m7-n9"):
        assert is_rand_augment(policy)
        train_transform(size=32, rand_augment=policy)(Image.new("RGB", (40, 40)))
    for policy in ("", "m9", "random", "rand-", "rand-x9", "rand-m", "rand-m9.5", "rand-minf", "rand-w0", "rand-tfoo"):
        assert not is_rand_augment(policy)
    with pytest.raises(ValueError, match="rand_augment must be like"):
        train_transform(size=32, rand_augment="rand-x9")


@pytest.mark.parametrize("policy", ["rand-m10-inc1", "rand-m9-mstd0.5-inc1", "rand-m0"])
def test_rand_augment_may_keep_no_bit_of_an_image(policy):
    (step,) = [step for step in train_transform(size=32, rand_augment=policy).transforms if hasattr(step, "ops")]
    (operation,) = [operation for operation in step.ops if operation.name.startswith("Posterize")]
    operation.prob, kept = 1.0, set()
    random.seed(0)
    for _ in range(300):
        image = np.asarray(operation(PHOTO))
        bits = 0 if not image.any() else next(bits for bits in range(8, 0, -1) if (image & (1 << (8 - bits))).any())
        mask = 256 - (1 << (8 - bits)) if bits else 0
        assert (image == (np.asarray(PHOTO) & mask)).all()
        kept.add(bits)
    assert kept == {"rand-m10-inc1": {0}, "rand-m9-mstd0.5-inc1": {0, 1}, "rand-m0": {0}}[policy]
