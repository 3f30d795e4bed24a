"""Anchors, one by one from their definition."""

import pytest
import torch

from gcvit.tasks.detect.rpn import anchors, inside


@pytest.mark.parametrize(("stride", "scale"), [(4, 8.0), (64, 8.0), (16, 2.5)])
def test_anchors(stride: int, scale: float) -> None:
    rows, columns = 3, 5
    found = anchors((rows, columns), stride, scale, torch.zeros((), dtype=torch.float64))
    expected = []
    for row in range(rows):
        for column in range(columns):
            for ratio in (0.5, 1, 2):  # height to width
                width = (stride * scale) / ratio**0.5
                height = width * ratio
                x, y = column * stride, row * stride
                expected.append([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_the_stride_is_the_levels_own_whatever_the_picture_measures() -> None:
    """800×1344 has 13×21 cells on the coarsest level; 800 // 13 would be 61."""
    found = anchors((13, 21), 64, 8.0, torch.zeros(()))
    middles = ((found[:, :2] + found[:, 2:]) / 2).reshape(13, 21, 3, 2)
    torch.testing.assert_close(middles[:, :, 0].diff(dim=0)[..., 1], torch.full((12, 21), 64.0))
    torch.testing.assert_close(middles[:, :, 0].diff(dim=1)[..., 0], torch.full((13, 20), 64.0))


def test_which_lie_inside() -> None:
    boxes = torch.tensor(
        [[0.0, 0, 10, 5], [-0.1, 0, 5, 5], [0, -0.1, 5, 5], [0, 0, 20, 5], [0, 0, 5, 10], [1, 1, 9, 9]]
    )
    assert inside(boxes, (10, 20), 0).tolist() == [True, False, False, False, False, True]
    assert inside(boxes, (10, 20), 0.1).tolist() == [True] * 6
    assert inside(boxes - 30, (10, 20), None).tolist() == [True] * 6
