"""Masks between a picture's pixels and the cells of a box: what a mask head learns, and what is made of its answer."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchvision.ops import roi_align

from gcvit.model.config import Pair
from gcvit.tasks.detect.boxes import Boxes

HALF = 0.5  # of a cell, or a probability, from which on a pixel is the object's
AT_ONCE = 16  # masks in fp32, of a megapixel 64 MB


def mask_targets(
    masks: Bool[Tensor, "objects height width"],
    objects: Int[Tensor, "boxes"],  # noqa: F821
    boxes: Boxes,
    cells: int,
) -> Bool[Tensor, "boxes cells cells"]:
    """Which cells of each box its object covers by half at least. objects: the number of each box's object."""
    targets = [torch.zeros(0, cells, cells, dtype=torch.bool, device=boxes.device)]
    for box, number in zip(boxes.split(AT_ONCE), objects.split(AT_ONCE), strict=True):
        if len(box):
            rois = torch.cat([torch.arange(len(box), device=box.device)[:, None], box], 1)
            covered = roi_align(masks[number, None].to(box.dtype), rois, cells, sampling_ratio=0, aligned=True)
            targets.append(covered[:, 0] >= HALF)
    return torch.cat(targets)


def paste(
    masks: Float[Tensor, "objects cells cells"], boxes: Boxes, size: Pair
) -> Bool[Tensor, "objects height width"]:
    """The pixels of each object in a picture of `size` (height, width).

    masks: probabilities in the cells of each box. boxes: in the pixels of that picture. Between the middles of cells
    they are interpolated bilinearly, towards 0 outside the box.
    """
    pasted = torch.zeros(len(masks), *size, dtype=torch.bool, device=masks.device)
    for whole, mask, box in zip(pasted, masks, boxes, strict=True):
        part, top, left = paste_part(mask, box, size)
        whole[top : top + part.shape[0], left : left + part.shape[1]] = part
    return pasted


def paste_part(
    mask: Float[Tensor, "cells cells"], box: Boxes, size: Pair
) -> tuple[Bool[Tensor, "rows columns"], int, int]:
    """The pixels of one object where its box and the picture meet, and how far from the top and left that is; no rows
    or columns where they do not."""
    left, top, right, bottom = box.tolist()
    rows, first_row = _weights(top, bottom, size[0], mask)
    columns, first_column = _weights(left, right, size[1], mask)
    return rows @ mask @ columns.T >= HALF, first_row, first_column


def _weights(low: float, high: float, pixels: int, mask: Tensor) -> tuple[Float[Tensor, "pixels cells"], int]:
    """How much of each cell goes into each pixel along one side of a box, and the number of the first pixel."""
    first, last = (int(min(max(edge, 0), pixels)) for edge in (low // 1, -(-high // 1)))
    cells = mask.shape[-1]
    if not high > low:
        return mask.new_zeros(0, cells), 0
    pixel, cell = (torch.arange(*ends, device=mask.device, dtype=torch.float64) for ends in ((first, last), (0, cells)))
    at = (pixel + 0.5 - low) / (high - low) * cells - 0.5
    return (1 - (at[:, None] - cell).abs()).clamp_min(0).to(mask.dtype), first
