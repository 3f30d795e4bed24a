"""Levels and RoIAlign against loops over numbers."""

import torch

from gcvit.tasks.detect.pooler import STRIDES, levels_of, pool
from tasks.detect import scalar
from tasks.detect.building import random_boxes


def maps(height: int, width: int, channels: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(1, channels, -(-height // stride), -(-width // stride), generator=generator, dtype=torch.float64)
        for stride in STRIDES
    ]


def test_levels() -> None:
    boxes = torch.cat([random_boxes(200, 0, side) for side in (100, 400, 1500)])
    levels = levels_of(boxes)
    assert levels.tolist() == [scalar.level_of(box) for box in boxes.tolist()]
    assert set(levels.tolist()) == {0, 1, 2, 3}


def test_levels_at_their_limits() -> None:
    sides = [0, 1, 111.9, 112, 223.9, 224, 447.9, 448, 5000]
    boxes = torch.tensor([[0.0, 0, side, side] for side in sides])
    assert levels_of(boxes).tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3]


def test_aligned_roi_align() -> None:
    """Boxes of all levels, some beyond the picture, in a picture whose sides are no multiples of the strides."""
    size, cells = (330, 467), 3
    boxes = torch.cat(
        [random_boxes(14, 0, 460), torch.tensor([[-30.0, -20, 40, 300], [400, 200, 600, 500], [5, 5, 5, 9]])]
    )
    assert set(levels_of(boxes).tolist()) == {0, 1, 2}
    boxes = torch.cat([boxes, torch.tensor([[0.0, 0, 467, 467]])])
    some = maps(*size)
    found = pool(some, boxes, cells)
    assert found.shape == (18, 2, cells, cells)
    for at, box in enumerate(boxes.tolist()):
        level = scalar.level_of(box)
        for channel in range(2):
            expected = scalar.roi_align(some[level][0, channel].tolist(), box, 1 / STRIDES[level], cells)
            torch.testing.assert_close(
                found[at, channel], torch.tensor(expected, dtype=torch.float64), atol=1e-9, rtol=1e-9
            )


def test_the_scale_is_the_strides_own_in_an_extreme_picture() -> None:
    """Of a 40×4000 picture's maps a coarse one has two rows, of which the second is mostly beyond the picture."""
    some, box = maps(40, 4000), [100.0, 0.0, 3900.0, 40.0]
    level = scalar.level_of(box)
    assert level == 2
    expected = scalar.roi_align(some[level][0, 0].tolist(), box, 1 / 16, 7)
    torch.testing.assert_close(pool(some, torch.tensor([box]).double(), 7)[0, 0], torch.tensor(expected).double())


def test_no_box_leaves_gradients_of_zero() -> None:
    some = [x.requires_grad_() for x in maps(64, 64)]
    found = pool(some, torch.zeros(0, 4, dtype=torch.float64), 7)
    assert found.shape == (0, 2, 7, 7)
    found.sum().backward()
    assert all(x.grad is not None and not x.grad.any() for x in some)
