"""Any height and width from 32 px up works at once; windows and poolings follow from img_size alone."""

from dataclasses import replace
from math import ceil
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from gcvit.model import GCViT, GCViTConfig, gcvit, global_query, windows
from laws import bugs, reference
from laws.models import SMALL, assert_equal, random_images, small_model

SIZES = [(32, 32), (33, 57), (224, 32), (65, 130), (32, 100), (63, 64), (96, 97), (127, 127), (200, 150)]


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("changes", [{}, {"windows": None, "img_size": (224, 224)}], ids=["small", "published"])
def test_any_size_works(size, changes):
    model, images = small_model(**changes), random_images(2, *size)
    maps, logits = model.pyramid(images), model(images)
    assert logits.shape == (2, 11)
    assert logits.isfinite().all()
    assert (logits[0] - logits[1]).norm() > 0.01 * logits[0].norm(), "the image does not matter"
    for stage, found in enumerate(maps):
        assert found.shape == (2, 8 * 2**stage, ceil(size[0] / 2 ** (stage + 2)), ceil(size[1] / 2 ** (stage + 2)))
        assert found.isfinite().all()
        assert found.is_contiguous(memory_format=torch.channels_last), "a map is not a view of NHWC memory"


@pytest.mark.parametrize("size", [(31, 64), (64, 31), (1, 1), (16, 16)])
def test_smaller_sizes_are_refused(size):
    for run in (small_model(), small_model().pyramid, small_model().trace):
        with pytest.raises(ValueError, match=f"{size[0]}.{size[1]}.*32"):
            run(random_images(1, *size))
    with pytest.raises(ValueError, match="32"):
        replace(SMALL, img_size=size)


def test_other_channels_are_refused():
    with pytest.raises(ValueError, match=r"3 channels.*4") as told:
        small_model()(random_images(1, 64, 64, channels=4))
    assert "last" not in str(told.value)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_last_are_asked_about(channels):
    model = small_model(in_chans=channels)
    images = random_images(2, 64, 96, channels=channels)
    with pytest.raises(ValueError, match=r"channels last\? images\.permute\(0, 3, 1, 2\)"):
        model(images.permute(0, 2, 3, 1))
    with pytest.raises(ValueError, match=r"image\.permute\(2, 0, 1\)\[None\]"):
        model(images[0].permute(1, 2, 0))
    with pytest.raises(ValueError, match=r"with image\[None\]$"):
        model(images[0])


# img_size, windows: expected windows, expected poolings; with the published 3, 2, 1, 1 MBConvs.
PLANS = [
    (224, None, (7, 7, 14, 7), (3, 2, 0, 0)),
    (384, None, (12, 12, 24, 12), (3, 2, 0, 0)),
    (512, None, (16, 16, 32, 16), (3, 2, 0, 0)),
    (768, 24, (24, 24, 24, 24), (3, 2, 1, 0)),
    (64, None, (4, 4, 4, 2), (2, 1, 0, 0)),
    (32, None, (4, 4, 2, 1), (1, 0, 0, 0)),
    (96, (5, 3, 4, 2), (5, 3, 4, 2), (2, 2, 1, 1)),
    (768, 7, (7, 7, 7, 7), (3, 2, 1, 1)),  # as many as there are MBConvs
    ((128, 256), None, ((4, 8), (4, 8), (8, 16), (4, 8)), (3, 2, 0, 0)),
    ((256, 128), None, ((8, 4), (8, 4), (16, 8), (8, 4)), (3, 2, 0, 0)),
    ((224, 96), ((7, 12), 7, 14, (7, 3)), ((7, 12), 7, 14, (7, 3)), (1, 1, 0, 0)),  # the short side decides
]


@pytest.mark.parametrize(("img_size", "windows", "expected", "poolings"), PLANS, ids=lambda value: str(value))
def test_windows_and_poolings_follow_from_img_size(img_size, windows, expected, poolings):
    config = GCViTConfig(img_size=img_size, windows=windows)
    expected = tuple(window if isinstance(window, tuple) else (window, window) for window in expected)
    assert config.stage_windows == expected
    assert config.poolings == poolings
    assert tuple(reference.windows_of(config)) == expected, "the reference plans otherwise"
    assert tuple(reference.poolings(config, stage) for stage in range(4)) == poolings


def test_the_plan_equals_the_references_at_every_size():
    for height in range(32, 400, 13):
        for width in range(32, 400, 17):
            config = GCViTConfig(img_size=(height, width))
            assert list(config.stage_windows) == reference.windows_of(config), (height, width)
            assert list(config.poolings) == [reference.poolings(config, s) for s in range(4)], (height, width)
            assert all(reference.map_size(config, s) == config.map_sizes[s] for s in range(4))


@torch.no_grad()
def test_the_published_dense_setting_neither_pads_nor_resizes(monkeypatch):
    """Windows of 24 at 768 px; counted on the meta device."""
    masks, resized = [], []
    monkeypatch.setattr(gcvit, "padding_mask", lambda *args: masks.append(windows.padding_mask(*args)) or masks[-1])
    counting = SimpleNamespace(max_pool2d=F.max_pool2d, interpolate=lambda x, *args, **named: resized.append(args))
    monkeypatch.setattr(global_query, "F", counting)
    with torch.device("meta"):
        model = GCViT(replace(SMALL, img_size=(768, 768), windows=24))
        model(torch.empty(1, 3, 768, 768))
    assert masks == [None] * 4
    assert not resized


@torch.no_grad()
def check_poolings_are_fixed(patch):
    """At every input size, the query generators max-pool as often as planned."""
    pooled = []

    def counted(x, *args, **named):
        pooled.append(x.shape)
        return F.max_pool2d(x, *args, **named)

    model = small_model()
    patch.setattr(global_query, "F", SimpleNamespace(max_pool2d=counted, interpolate=F.interpolate))
    for size in SIZES:
        pooled.clear()
        model(random_images(1, *size))
        assert len(pooled) == sum(model.config.poolings), f"{len(pooled)} poolings at {size}"


def test_poolings_do_not_follow_the_input(monkeypatch):
    check_poolings_are_fixed(monkeypatch)


def test_the_check_of_poolings_notices(monkeypatch):
    bugs.poolings_from_the_input(monkeypatch)
    with pytest.raises(AssertionError, match="poolings at"):
        check_poolings_are_fixed(monkeypatch)


@torch.no_grad()
@pytest.mark.parametrize(("img_size", "windows"), [(128, None), ((64, 160), None), (96, (6, 4, 3, 2)), (64, 7)])
def test_set_input_size_equals_a_model_built_so(img_size, windows):
    """…with the same weights, its bias tables those that set_input_size has resized."""
    model = small_model(windows=None, img_size=(64, 64))
    model.set_input_size(img_size, windows)
    built = GCViT(replace(SMALL, img_size=img_size, windows=windows)).double().eval()
    assert model.config == built.config
    built.load_state_dict(model.state_dict())
    images = random_images(2, 96, 130)
    assert_equal(model(images), built(images), "logits after set_input_size")
    expected = reference.reference_forward(model.config, model.state_dict(), images)["logits"]
    assert_equal(model(images), expected, "logits after set_input_size, of the reference")
