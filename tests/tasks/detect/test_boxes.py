"""Coder and class-wise NMS, against loops over numbers."""

import math

import pytest
import torch
from torch import Tensor

from gcvit.tasks.detect.boxes import MOST, class_wise_nms, decode, distance, encode, fp32, has_area
from tasks.detect import scalar
from tasks.detect.building import random_boxes

STDS = (0.1, 0.1, 0.2, 0.2)


def close(found: Tensor, expected: list, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(found, torch.tensor(expected, dtype=found.dtype), rtol=tolerance, atol=tolerance)


def test_encoding_and_its_inverse() -> None:
    boxes, objects = random_boxes(40, seed=0), random_boxes(40, seed=1)
    deltas = encode(boxes, objects, STDS)
    close(deltas, [scalar.encode(*pair, STDS) for pair in zip(boxes.tolist(), objects.tolist(), strict=True)])
    within = (deltas[:, 2:] * 0.2).abs().amax(1) < MOST
    assert within.sum() > 30
    torch.testing.assert_close(decode(boxes, deltas, STDS)[within], objects[within])


@pytest.mark.parametrize("strength", [1.0, 30.0], ids=["small", "beyond the clamps"])
def test_decoding(strength: float) -> None:
    boxes = random_boxes(40, seed=0)
    deltas = strength * torch.randn(40, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    pairs = zip(boxes.tolist(), deltas.tolist(), strict=True)
    close(decode(boxes, deltas, STDS), [scalar.decode(*pair, STDS) for pair in pairs])


def test_sizes_are_clamped_both_ways() -> None:
    box = torch.tensor([[10.0, 20.0, 26.0, 36.0]])
    wide, narrow = (decode(box, torch.tensor([[0.0, 0, sign * 1e3, 0]]), STDS) for sign in (1, -1))
    assert (wide[0, 2] - wide[0, 0]).item() == pytest.approx(1000)
    assert (narrow[0, 2] - narrow[0, 0]).item() == pytest.approx(16 * 16 / 1000, rel=1e-3)
    assert decode(box, torch.full((1, 4), 1e6), STDS).isfinite().all()


def test_deltas_of_every_class_at_once() -> None:
    boxes = random_boxes(5, seed=0)
    deltas = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    together = decode(boxes[:, None], deltas, STDS)
    for label in range(3):
        torch.testing.assert_close(together[:, label], decode(boxes, deltas[:, label], STDS))


def test_area() -> None:
    boxes = torch.tensor([[0, 0, 1, 1], [0, 0, 0, 5], [0, 0, 5, 0], [3, 3, 2, 2], [math.nan, 0, 1, 1], [0, 0, 1e-9, 1]])
    assert has_area(boxes).tolist() == [True, False, False, False, False, True]


@pytest.mark.parametrize("limit", [0.3, 0.5, 0.7])
def test_nms_within_a_class(limit: float) -> None:
    generator = torch.Generator().manual_seed(4)
    boxes = random_boxes(15, seed=3).repeat(10, 1)
    boxes += 4 * torch.rand(150, 4, generator=generator)
    scores = torch.randint(1, 40, (150,), generator=generator).double() / 40  # many are equally sure
    labels = torch.randint(0, 3, (150,), generator=generator)
    expected = []
    for label in range(3):
        own = (labels == label).nonzero()[:, 0].tolist()
        kept = scalar.nms(boxes[own].tolist(), scores[own].tolist(), limit)
        expected += [own[number] for number in kept]
    expected.sort(key=lambda number: (-scores[number].item(), number))
    assert class_wise_nms(boxes, scores, labels, limit).tolist() == expected
    assert len(expected) < 150


def test_nms_of_classes_far_apart_loses_no_digits() -> None:
    """Two boxes of IoU 1/2 and a hair more, in the last of a thousand classes of a large picture."""
    boxes = torch.tensor([[0.0, 0, 4000, 4000], [0, 0, 2, 1], [0, 0, 1.0001, 1]])
    labels = torch.tensor([0, 999, 999])
    for limit, kept in ((0.50004, [0, 1]), (0.50006, [0, 1, 2])):
        assert class_wise_nms(boxes, torch.tensor([0.9, 0.8, 0.7]), labels, limit).tolist() == kept


def test_nms_of_nothing() -> None:
    assert class_wise_nms(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), 0.5).tolist() == []


@pytest.mark.parametrize("beta", [0.0, 1 / 9])
def test_the_distance_of_deltas(beta: float) -> None:
    generator = torch.Generator().manual_seed(5)
    found, wanted = (0.2 * torch.randn(20, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    expected = 0.0
    for a, b in zip(found.flatten().tolist(), wanted.flatten().tolist(), strict=True):
        apart = abs(a - b)
        expected += 0.5 * apart**2 / beta if apart < beta else apart - beta / 2
    assert distance(found, wanted, beta).item() == pytest.approx(expected)


def test_what_is_computed_in_single_precision() -> None:
    kinds = {torch.bfloat16: torch.float32, torch.float16: torch.float32, torch.float64: torch.float64}
    assert {kind: fp32(torch.zeros(1, dtype=kind)).dtype for kind in kinds} == kinds
