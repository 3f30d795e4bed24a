"""Counts of a segmentation: the same as counting pixel by pixel, whatever is ignored and however it is shared out."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import minimum_filter
from sklearn.metrics import confusion_matrix, jaccard_score

from gcvit.metrics import SegmentationCounts
from gcvit.metrics.segmentation import boundary, boundary_width


def maps(seed: int, height: int, width: int, classes: int, ignored: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    """A prediction and labels in blotches, so that there is an inside, some labels ignored."""
    draw = np.random.default_rng(seed)

    def blotches() -> np.ndarray:
        coarse = draw.integers(0, classes, (height // 8 + 1, width // 8 + 1))
        return coarse.repeat(8, 0).repeat(8, 1)[:height, :width].astype(np.int16)

    labels, predicted = blotches(), blotches()
    predicted = np.where(draw.random((height, width)) < 0.7, labels, predicted)
    labels = np.where(draw.random((height, width)) < ignored, -1, labels)
    return torch.from_numpy(predicted.astype(np.int16)), torch.from_numpy(labels.astype(np.int16))


def counted(classes: int, *images: tuple[torch.Tensor, torch.Tensor]) -> SegmentationCounts:
    counts = SegmentationCounts(classes)
    for predicted, labels in images:
        counts.update(predicted, labels)
    return counts


def band(mask: np.ndarray, width: int) -> np.ndarray:
    """The paper's band: a mask less its erosion, zeros around the image."""
    return mask & ~minimum_filter(mask, size=2 * width + 1, mode="constant", cval=0)


def boundary_by_hand(predicted: np.ndarray, labels: np.ndarray, classes: int) -> list[list[int]]:
    known = labels >= 0
    width = boundary_width(*labels.shape)
    rows = []
    for label in range(classes):
        true, guess = band((labels == label) & known, width), band((predicted == label) & known, width)
        rows.append([int((true & guess).sum()), int((true | guess).sum())])
    return rows


@settings(max_examples=40)
@given(st.integers(0, 99), st.integers(1, 70), st.integers(1, 70), st.integers(1, 6), st.sampled_from([0.0, 0.01, 0.5]))
def test_they_are_those_of_counting_by_hand(seed: int, height: int, width: int, classes: int, ignored: float) -> None:
    predicted, labels = maps(seed, height, width, classes, ignored)
    counts = counted(classes, (predicted, labels))
    known = labels >= 0
    expected = confusion_matrix(labels[known], predicted[known], labels=range(classes)) if known.any() else 0
    assert (counts.confusion.numpy() == expected).all()
    assert counts.confusion.dtype == torch.int64
    assert counts.boundary.tolist() == boundary_by_hand(predicted.numpy(), labels.numpy(), classes)


def test_the_means_are_those_of_sklearn() -> None:
    predicted, labels = maps(1, 60, 80, 5)
    counts = counted(7, (predicted, labels))  # two classes that nobody has seen
    known = labels >= 0
    truth, guess = labels[known].numpy(), predicted[known].numpy()
    ious = jaccard_score(truth, guess, average=None, labels=range(5))
    assert counts.per_class_iou == [*map(pytest.approx, ious), None, None]
    assert counts.miou == pytest.approx(ious.mean())
    assert counts.pixel_accuracy == pytest.approx((truth == guess).mean())
    assert counts.mean_accuracy == pytest.approx(
        np.mean([(guess[truth == label] == label).mean() for label in range(5)])
    )
    by_hand = boundary_by_hand(predicted.numpy(), labels.numpy(), 5)
    assert counts.boundary_iou == pytest.approx(np.mean([agree / either for agree, either in by_hand]))


def test_a_class_that_was_only_predicted_lowers_miou_but_not_mean_accuracy() -> None:
    labels = torch.zeros(4, 4, dtype=torch.int16)
    predicted = labels.clone()
    predicted[0] = 1
    counts = counted(3, (predicted, labels))
    assert counts.per_class_iou == [0.75, 0.0, None]
    assert counts.per_class_accuracy == [0.75, None, None]
    assert (counts.miou, counts.mean_accuracy) == (0.375, 0.75)


def test_shares_of_any_size_add_up_exactly() -> None:
    images = [maps(seed, 30 + seed, 40, 4) for seed in range(7)]
    whole, parts = counted(4, *images), SegmentationCounts(4)
    for share in (images[:1], images[1:6], images[6:], []):
        parts.add(counted(4, *share))
    assert torch.equal(whole.confusion, parts.confusion)
    assert torch.equal(whole.boundary, parts.boundary)


@pytest.mark.parametrize("ignored", [0.0, 0.05])
def test_what_is_right_everywhere_has_nothing_but_ones(ignored: float) -> None:
    _, labels = maps(3, 50, 70, 4, ignored)
    counts = counted(4, (labels.clamp(min=0), labels))  # whatever is predicted where labels are ignored
    scores = (counts.miou, counts.mean_accuracy, counts.pixel_accuracy, counts.boundary_iou)
    assert scores == (1, 1, 1, 1)


def test_what_is_predicted_on_ignored_pixels_does_not_matter() -> None:
    predicted, labels = maps(5, 64, 48, 3, 0.3)
    other = torch.where(labels < 0, 2 - predicted, predicted)
    assert not torch.equal(other, predicted)
    one, two = counted(3, (predicted, labels)), counted(3, (other, labels))
    assert torch.equal(one.confusion, two.confusion)
    assert torch.equal(one.boundary, two.boundary)


def test_boundary_iou_sees_a_shift_that_iou_hardly_does() -> None:
    labels = torch.zeros(200, 300, dtype=torch.int16)
    labels[40:160, 60:240] = 1
    counts = counted(2, (labels.roll(5, 1), labels))
    assert counts.miou > 0.93
    assert counts.boundary_iou < 0.75


def test_the_band_is_two_per_cent_of_the_diagonal_wide() -> None:
    assert [boundary_width(*size) for size in ((1, 1), (64, 64), (360, 480), (2000, 3000))] == [1, 2, 12, 72]
    found = boundary(torch.zeros(30, 40, dtype=torch.int16), 3)
    inside = torch.zeros(30, 40, dtype=torch.bool)
    inside[3:-3, 3:-3] = True
    assert torch.equal(found, ~inside)
    assert boundary(torch.zeros(1, 9, dtype=torch.int16), 1).all()


def test_more_classes_than_a_byte_holds() -> None:
    labels = torch.arange(400, dtype=torch.int16).reshape(20, 20)
    counts = counted(400, (labels, labels))
    assert counts.confusion.diagonal().tolist() == [1] * 400
    assert counts.miou == 1


@pytest.mark.parametrize("size", [(5, 5), (0, 0)])
def test_without_a_labelled_pixel_there_is_no_score(size: tuple[int, int]) -> None:
    counts = counted(2, (torch.zeros(size, dtype=torch.int16), torch.full(size, -1, dtype=torch.int16)))
    assert counts.per_class_iou == counts.per_class_accuracy == counts.per_class_boundary_iou == [None, None]
    for score in ("miou", "mean_accuracy", "pixel_accuracy", "boundary_iou"):
        with pytest.raises(ValueError, match="all are ignored"):
            getattr(counts, score)


def test_maps_that_do_not_fit_are_refused() -> None:
    counts = SegmentationCounts(3)
    zeros = torch.zeros(4, 5, dtype=torch.int16)
    with pytest.raises(ValueError, match=r"prediction is 4×5 pixels and its labels are 5×4"):
        counts.update(zeros, zeros.T)
    for predicted, labels in ((zeros, zeros + 3), (zeros + 3, zeros), (zeros - 1, zeros)):
        with pytest.raises(ValueError, match="there are 3 classes"):
            counts.update(predicted, labels)
    assert counts.pixels == 0
