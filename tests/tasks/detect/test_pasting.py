"""Masks out of pictures and back, against loops over numbers."""

import time

import pytest
import torch
from torch.nn.functional import grid_sample

from gcvit.tasks.detect.pasting import mask_targets, paste, paste_part
from tasks.detect import scalar
from tasks.detect.building import random_boxes, random_objects


def test_what_a_mask_head_learns() -> None:
    objects = random_objects(4, (50, 60), dtype=torch.float64)
    boxes, number = random_boxes(40, 1, 50), torch.arange(40) % 4
    assert objects.masks is not None
    found = mask_targets(objects.masks, number, boxes, 7)
    assert found.shape == (40, 7, 7)
    assert found.any()
    assert not found.all()
    for target, at, box in zip(found, number, boxes.tolist(), strict=True):
        covered = torch.tensor(scalar.roi_align(objects.masks[at].double().tolist(), box, 1.0, 7))
        sure = (covered - 0.5).abs() > 1e-9
        assert torch.equal(target[sure], (covered >= 0.5)[sure])


def test_a_cell_that_is_covered_by_half() -> None:
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, :, :2] = True
    covered = mask_targets(mask, torch.tensor([0]), torch.tensor([[0.0, 0, 4, 4]]), 1)
    assert covered.tolist() == [[[True]]]


def test_no_targets() -> None:
    masks, none = torch.zeros(0, 9, 9, dtype=torch.bool), torch.zeros(0, dtype=torch.int64)
    assert mask_targets(masks, none, torch.zeros(0, 4), 28).shape == (0, 28, 28)


def unsure(values: torch.Tensor) -> torch.Tensor:
    return (values - 0.5).abs() < 1e-9


def test_pasting() -> None:
    """Boxes of all sizes, within the picture and beyond it on each side."""
    size, cells = (37, 53), 5
    generator = torch.Generator().manual_seed(0)
    boxes = torch.cat([random_boxes(12, 2, 37), random_boxes(12, 3, 80) - 20])
    masks = torch.rand(24, cells, cells, generator=generator, dtype=torch.float64)
    found = paste(masks, boxes, size)
    assert found.shape == (24, *size)
    assert found.any(2).any(1).sum() > 12
    for mask, box, pasted in zip(masks.tolist(), boxes.tolist(), found, strict=True):
        expected = torch.tensor(scalar.paste(mask, box, size), dtype=torch.float64)
        sure = ~unsure(expected)
        assert torch.equal(pasted[sure], (expected >= 0.5)[sure])


def test_a_box_of_pixels_is_filled_to_its_edges() -> None:
    found = paste(torch.ones(1, 28, 28), torch.tensor([[3.0, 2.0, 9.0, 7.0]]), (12, 12))
    expected = torch.zeros(12, 12, dtype=torch.bool)
    expected[2:7, 3:9] = True
    assert torch.equal(found[0], expected)


@pytest.mark.parametrize("box", [[5.0, 5, 5, 9], [5, 5, 9, 5], [-9, -9, -2, -2], [40, 40, 50, 50], [7, 7, 3, 3]])
def test_boxes_that_cover_nothing(box: list[float]) -> None:
    assert not paste(torch.ones(1, 28, 28), torch.tensor([box]), (30, 30)).any()


def test_none_and_huge_boxes() -> None:
    assert paste(torch.zeros(0, 28, 28), torch.zeros(0, 4), (20, 30)).shape == (0, 20, 30)
    assert paste(torch.ones(1, 28, 28), torch.tensor([[-1e6, -1e6, 1e6, 1e6]]), (20, 30)).all()


def test_a_hundred_masks_in_a_large_picture_are_as_by_sampling_the_whole_of_it() -> None:
    size = (300, 500)
    boxes = random_boxes(20, 5, 300, torch.float32)
    masks = torch.rand(20, 28, 28, generator=torch.Generator().manual_seed(6))
    y, x = torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5
    down = (y - boxes[:, 1:2]) / (boxes[:, 3:] - boxes[:, 1:2]) * 2 - 1
    across = (x - boxes[:, :1]) / (boxes[:, 2:3] - boxes[:, :1]) * 2 - 1
    grid = torch.stack([across[:, None].expand(-1, size[0], -1), down[:, :, None].expand(-1, -1, size[1])], -1)
    expected = grid_sample(masks[:, None], grid, align_corners=False)[:, 0]
    different = paste(masks, boxes, size) != (expected >= 0.5)
    assert not different[(expected - 0.5).abs() > 1e-4].any()


def test_only_the_box_is_computed() -> None:
    part, top, left = paste_part(torch.ones(28, 28), torch.tensor([100.2, 50.5, 140.0, 71.0]), (10_000, 10_000))
    assert (part.shape, top, left) == ((21, 40), 50, 100)
    start = time.process_time()
    paste_part(torch.ones(28, 28), torch.tensor([0.0, 0, 30, 30]), (10**9, 10**9))
    assert time.process_time() - start < 1
