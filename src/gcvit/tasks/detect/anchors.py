"""Anchors: the boxes from which proposals start (Ren et al., 2015; one size a level, Lin et al., 2017)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gcvit.model.config import Pair
from gcvit.tasks.detect.boxes import Boxes

RATIOS = (0.5, 1.0, 2.0)  # of height to width


def anchors(cells: Pair, stride: int, scale: float, like: Tensor) -> Float[Tensor, "rows*columns*ratios 4"]:
    """The anchors of a level, cell by cell in reading order, for each cell one a ratio.

    cells: rows and columns of the map. stride: pixels a cell. scale: the square root of an anchor's area, in strides.
    The middle of the first cell's anchors is the picture's corner. like: gives the device and the number format.
    """
    ratios = torch.tensor(RATIOS, device=like.device, dtype=like.dtype)
    side = scale * stride
    half = torch.stack([side / ratios.sqrt(), side * ratios.sqrt()], -1) / 2  # width, height
    y, x = (torch.arange(count, device=like.device, dtype=like.dtype) * stride for count in cells)
    middle = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)[:, :, None]
    return torch.cat([middle - half, middle + half], -1).flatten(0, 2)


def inside(boxes: Boxes, size: Pair, border: float | None) -> Bool[Tensor, "*boxes"]:
    """Which boxes stick out of a picture of `size` (height, width) by less than `border` pixels, or not at all; None:
    all of them."""
    if border is None:
        return torch.ones_like(boxes[..., 0], dtype=torch.bool)
    height, width = size
    left, top, right, bottom = boxes.unbind(-1)
    return (left >= -border) & (top >= -border) & (right < width + border) & (bottom < height + border)
