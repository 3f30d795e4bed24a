"""The expected calibration error against a plain loop over the images."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gcvit.metrics import Calibration


def by_hand(confidence: list[float], right: list[bool], bins: int) -> float:
    """Guo et al. (2017), equation 3: bin m holds what is above (m - 1)/M and up to m/M."""
    error = 0.0
    for m in range(1, bins + 1):
        members = [(c, r) for c, r in zip(confidence, right, strict=True) if (m - 1) / bins < c <= m / bins]
        if members:
            accuracy = sum(r for _, r in members) / len(members)
            mean = sum(c for c, _ in members) / len(members)
            error += len(members) / len(confidence) * abs(accuracy - mean)
    return error


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_equal_to_a_plain_loop(bins: int) -> None:
    generator = torch.Generator().manual_seed(bins)
    confidence = torch.rand(500, generator=generator, dtype=torch.float64) * 0.9 + 0.1
    right = torch.rand(500, generator=generator) < 0.6
    calibration = Calibration(confidence, right, bins)
    assert calibration.error == pytest.approx(by_hand(confidence.tolist(), right.tolist(), bins), abs=1e-12)
    assert calibration.error > 0.05
    assert int(calibration.images.sum()) == 500
    assert int(calibration.hits.sum()) == int(right.sum())


@given(m=st.integers(1, 15))
@settings(max_examples=15)
def test_an_edge_belongs_to_the_bin_below(m: int) -> None:
    edge = m / 15
    for confidence, expected in ((edge, m - 1), (math.nextafter(edge, 2.0), min(m, 14))):
        images = Calibration(torch.tensor([confidence], dtype=torch.float64), torch.tensor([True])).images
        assert images.nonzero().item() == expected


def test_sure_and_right_is_perfect_and_sure_and_wrong_the_worst() -> None:
    ones = torch.ones(4)
    assert Calibration(ones, ones.bool()).error == 0
    assert Calibration(ones, ~ones.bool()).error == 1


def test_no_images_is_an_error_and_not_zero() -> None:
    with pytest.raises(ValueError, match="no images"):
        _ = Calibration(torch.empty(0), torch.empty(0, dtype=torch.bool)).error
