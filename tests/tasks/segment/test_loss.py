"""The loss of segmentation: by hand, and where nothing is labelled."""

import math

import pytest
import torch
from torch import nn

from gcvit.data.label_maps import IGNORED
from gcvit.tasks.segment.loss import SegmentLoss, pixel_loss
from gcvit.tasks.segment.segmenter import SegmenterOutput


def test_the_loss_is_the_mean_over_all_pixels_and_the_ignored_ones_add_nothing() -> None:
    logits = torch.randn(2, 3, 4, 5)
    labels = torch.randint(0, 3, (2, 4, 5))
    labels[0, :2] = IGNORED
    labels[1, 3, 4] = IGNORED
    total = 0.0
    for b in range(2):
        for y in range(4):
            for x in range(5):
                if (label := int(labels[b, y, x])) != IGNORED:
                    scores = logits[b, :, y, x].tolist()
                    total -= scores[label] - math.log(sum(map(math.exp, scores)))
    assert pixel_loss(logits, labels).item() == pytest.approx(total / 40, rel=1e-5)


def test_where_all_is_ignored_loss_and_gradient_are_zero() -> None:
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = pixel_loss(logits, torch.full((1, 8, 8), IGNORED))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_parts_of_a_batch_add_up_to_the_whole_whatever_is_ignored_in_each() -> None:
    logits, labels = torch.randn(4, 3, 6, 6), torch.randint(0, 3, (4, 6, 6))
    labels[0] = IGNORED
    labels[1, :, 2:] = IGNORED
    whole = pixel_loss(logits, labels)
    halves = [pixel_loss(logits[part], labels[part]) for part in (slice(0, 2), slice(2, 4))]
    torch.testing.assert_close(sum(halves) / 2, whole)


def test_labels_that_are_cut_from_a_smooth_picture_are_best_met_where_they_are() -> None:
    """Logits at a quarter of the size are put over the labels without a shift."""
    labels = torch.zeros(1, 32, 32, dtype=torch.long)
    labels[:, :, 16:] = 1
    coarse = nn.functional.one_hot(labels[:, ::4, ::4], 2).permute(0, 3, 1, 2).float() * 10
    losses = {shift: pixel_loss(coarse.roll(shift, -1), labels).item() for shift in (-1, 0, 1)}
    assert min(losses, key=losses.__getitem__) == 0


@pytest.mark.parametrize("weight", [0.4, 1.0])
def test_the_auxiliary_heads_loss_is_a_part_of_its_own(weight: float) -> None:
    images, labels = torch.randn(2, 3, 8, 8), torch.randint(0, 3, (2, 8, 8))
    logits, auxiliary = torch.randn(2, 3, 2, 2), torch.randn(2, 3, 1, 1)
    found = SegmentLoss(weight)(lambda x: SegmenterOutput(logits, auxiliary), (images, labels))  # type: ignore[arg-type]
    assert found.keys() == {"pixels", "auxiliary"}
    torch.testing.assert_close(found["pixels"], pixel_loss(logits, labels))
    torch.testing.assert_close(found["auxiliary"], weight * pixel_loss(auxiliary, labels))
    alone = SegmentLoss(weight)(lambda x: SegmenterOutput(logits, None), (images, labels))  # type: ignore[arg-type]
    assert alone.keys() == {"pixels"}
