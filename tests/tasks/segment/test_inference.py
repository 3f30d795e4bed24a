"""Inference at any size: windows leave no seam, batch-mates change nothing, and no more is held than needs be."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from gcvit.tasks.segment import inference
from gcvit.tasks.segment.inference import look, segment_pixels, starts
from gcvit.tasks.segment.segmenter import SegmenterOutput
from gcvit.tasks.segment.settings import Looks, Mode
from tasks.segmenters import segment_logits

Size = tuple[int, int]
CLASSES = 5


class PerPixel(nn.Module):
    """Each pixel's logits are a function of the pixel alone, at the picture's resolution."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, CLASSES, 1)
        self.shown: list[torch.Size] = []

    def forward(self, images: Tensor) -> SegmenterOutput:
        self.shown.append(images.shape)
        assert min(images.shape[-2:]) >= 32
        return SegmenterOutput(self.mix(images), None)


class Quarter(nn.Module):
    """Logits at a quarter of the size, rounded up, that depend on what is around."""

    def __init__(self) -> None:
        super().__init__()
        self.near = nn.Conv2d(3, CLASSES, 7, stride=4, padding=3)
        self.far = nn.Conv2d(CLASSES, CLASSES, 5, padding=2)

    def forward(self, images: Tensor) -> SegmenterOutput:
        assert min(images.shape[-2:]) >= 32
        return SegmenterOutput(3 * self.far(self.near(images)), None)


@pytest.fixture(autouse=True)
def _inference() -> None:
    torch.manual_seed(0)


def pictures(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def built(kind: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(2)
    return kind().eval().requires_grad_(False)


sides = st.integers(1, 131)


@settings(max_examples=60)
@given(st.integers(1, 300), st.integers(1, 80), st.data())
def test_windows_cover_every_pixel_and_end_at_the_edge(length: int, window: int, data: st.DataObject) -> None:
    step = data.draw(st.integers(1, window))
    places = starts(length, window, step)
    covered = {pixel for start in places for pixel in range(start, min(start + window, length))}
    assert covered == set(range(length))
    assert places == sorted(set(places))
    assert places[-1] == max(length - window, 0)
    assert len(places) == max(0, -(-(length - window) // step)) + 1  # as published


@settings(max_examples=25)
@given(sides, sides, st.integers(32, 60), st.integers(32, 60))
def test_there_is_no_seam(height: int, width: int, window_height: int, window_width: int) -> None:
    model, images = built(PerPixel), pictures(2, 3, height, width)
    slid = segment_logits(model, images, (height, width), Looks("slide", window=(window_height, window_width)))
    torch.testing.assert_close(slid, model.mix(images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(96, 128), (37, 61), (20, 70), (1, 1)])
@pytest.mark.parametrize("out", [None, (75, 40)])
def test_a_window_as_large_as_the_picture_is_the_whole_picture(size: Size, out: Size | None) -> None:
    model, images = built(Quarter), pictures(2, 3, *size)
    whole = segment_logits(model, images, out or size)
    window = max(size[0], 32), max(size[1], 32)
    for larger in (window, (128, 160)):
        assert torch.equal(segment_logits(model, images, out or size, Looks("slide", window=larger)), whole)


def test_overlaps_are_averaged_as_published() -> None:
    """The published loop, written down plainly: pad each window's logits, add them up, divide by their number."""
    model, images = built(Quarter), pictures(1, 3, 101, 83)
    total, number = torch.zeros(1, CLASSES, 101, 83), torch.zeros(1, 1, 101, 83)
    window, stride = (48, 40), (32, 26)
    for row in range(3):
        for column in range(3):
            bottom, right = min(row * stride[0] + 48, 101), min(column * stride[1] + 40, 83)
            area = (..., slice(max(bottom - 48, 0), bottom), slice(max(right - 40, 0), right))
            total[area] += interpolate(model(images[area]).logits, window, mode="bilinear")
            number[area] += 1
    assert number.min() > 0
    slid = segment_logits(model, images, (101, 83), Looks("slide", window=window))
    torch.testing.assert_close(slid, total / number)


def test_batch_mates_and_windows_at_once_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = built(Quarter), pictures(5, 3, 70, 90)
    for looks in (Looks(), Looks("slide", window=(40, 48)), Looks(scales=(0.5, 1.0), flip=True)):
        together = segment_logits(model, images, (60, 91), looks)
        for number in range(5):
            alone = segment_logits(model, images[number : number + 1], (60, 91), looks)
            torch.testing.assert_close(alone, together[number : number + 1], rtol=1e-5, atol=1e-5)
    counted = built(PerPixel)
    segment_logits(counted, images[:1], (70, 90), Looks("slide", window=(32, 32)))
    assert max(shape[0] for shape in counted.shown) == inference.CROPS


def test_the_grid_of_logits_is_laid_over_the_pixels() -> None:
    """33 pixels are 9 cells of 4; the last one sticks out, it does not squeeze the others."""

    class Columns(nn.Module):
        def forward(self, images: Tensor) -> SegmenterOutput:
            cells = torch.arange(-(-images.shape[3] // 4)).float() * 4 + 1.5  # where each one's middle lies
            return SegmenterOutput(cells.expand(1, 2, -(-images.shape[2] // 4), -1), None)

    found = segment_logits(Columns(), pictures(1, 3, 32, 33), (32, 33))[0, 0, 0]
    torch.testing.assert_close(found[2:-1], torch.arange(2.0, 32))


def test_a_mirrored_picture_has_mirrored_labels_with_flip() -> None:
    model, images = built(Quarter), pictures(1, 3, 45, 77)
    plain, mirrored = (segment_logits(model, x, (45, 77), Looks(flip=True)) for x in (images, images.flip(3)))
    torch.testing.assert_close(plain, mirrored.flip(3), rtol=1e-4, atol=1e-5)
    without = [segment_logits(model, x, (45, 77)) for x in (images, images.flip(3))]
    assert (without[0] - without[1].flip(3)).abs().max() > 0.1


def test_softmax_is_averaged_over_scales_and_mirror_images() -> None:
    model, images, size = built(Quarter), pictures(2, 3, 64, 80), (70, 65)
    shares = []
    for scale in (0.5, 1.0, 1.75):
        shown = (round(64 * scale), round(80 * scale))
        scaled = images if scale == 1 else interpolate(images, shown, mode="bilinear", antialias=True)
        shares.append(segment_logits(model, scaled, size).softmax(1))
        shares.append(segment_logits(model, scaled.flip(3), shown).flip(3))
        shares[-1] = interpolate(shares[-1], size, mode="bilinear").softmax(1)
    found = segment_logits(model, images, size, Looks(scales=(0.5, 1.0, 1.75), flip=True))
    torch.testing.assert_close(found.exp(), torch.stack(shares).mean(0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "looks",
    [
        Looks(),
        Looks("slide", window=(40, 48)),
        Looks(scales=(0.5, 1.0), flip=True),
        Looks("slide", (1.0, 1.3), window=(40, 48)),
    ],
)
@pytest.mark.parametrize("size", [(63, 90), (110, 77)])
def test_some_classes_at_a_time_give_exactly_the_same(
    looks: Looks, size: Size, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, images = built(Quarter), pictures(2, 3, 63, 90)
    labels = torch.randint(-1, CLASSES, (2, *size), generator=torch.Generator().manual_seed(3)).short()
    plain = segment_logits(model, images, size, looks)
    expected = cross_entropy(plain, labels.long(), ignore_index=-1, reduction="none")
    for held in (2**26, 1):  # all classes, one class
        monkeypatch.setattr(inference, "VALUES", held)
        pixels = segment_pixels(model, images, size, looks, labels)
        assert torch.equal(pixels.predicted.long(), plain.argmax(1))
        torch.testing.assert_close(pixels.losses, expected, rtol=1e-4, atol=1e-5)
        unlabelled = segment_pixels(model, images, size, looks)
        assert (unlabelled.losses, pixels.finite) == (None, None)  # looking at every logit takes time
        assert unlabelled.finite


def test_no_more_classes_are_held_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "VALUES", CLASSES * 60 * 70)
    views = look(built(Quarter), pictures(1, 3, 40, 44), Looks())
    assert [logits.shape[1] for _, logits in inference._by_classes(views, (100, 120))] == [1] * CLASSES
    assert [logits.shape[1] for _, logits in inference._by_classes(views, (60, 70))] == [CLASSES]


@pytest.mark.parametrize("size", [(1, 200), (200, 1), (1, 1), (31, 32)])
@pytest.mark.parametrize("mode", ["whole", "slide"])
def test_a_picture_of_one_pixels_height(size: Size, mode: Mode) -> None:
    model = built(Quarter)
    for looks in (Looks(mode, window=(64, 64)), Looks(mode, (0.25, 2.0), window=(64, 64), flip=True)):
        logits = segment_logits(model, pictures(1, 3, *size), size, looks)
        assert logits.shape == (1, CLASSES, *size)
        assert logits.isfinite().all()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"window": (31, 64)}, "window 31×64"),
        ({"scales": ()}, "one or more"),
        ({"scales": (1.0, 0.0)}, "above 0"),
        ({"scales": (float("nan"),)}, "above 0"),
        ({"scales": (float("inf"),)}, "above 0"),
    ],
)
def test_settings_that_cannot_be(settings: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Looks(**settings)
