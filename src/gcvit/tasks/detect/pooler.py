"""RoIAlign on a pyramid (He et al., 2017, section 3; levels by Lin et al., 2017, equation 1)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchvision.ops import box_area, roi_align

from gcvit.tasks.detect.boxes import Boxes
from gcvit.tasks.pyramid import Map

STRIDES = (4, 8, 16, 32)  # of the levels that boxes are pooled from
FINEST = 56  # pixels; squares below twice this side are pooled from the finest level


def levels_of(boxes: Boxes) -> Int[Tensor, "boxes"]:  # noqa: F821
    """The level of each box, 0 for the finest: one more for each doubling of its side from 112 pixels on."""
    level = (box_area(boxes).sqrt() / FINEST + 1e-6).log2().floor()
    return level.clamp(0, len(STRIDES) - 1).long()


def pool(maps: Sequence[Map], boxes: Boxes, cells: int) -> Float[Tensor, "boxes channels cells cells"]:
    """What one picture's maps show in each box, cut into cells a side.

    maps: (1, channels, rows, columns), the four finest levels. Cells are averaged over as many bilinear samples as they
    have pixels of the map. No box means no rows, and gradients of zero.
    """
    level = levels_of(boxes)
    order = level.argsort(stable=True)
    pooled = [
        roi_align(x, [boxes[level == number].to(x.dtype)], cells, 1 / stride, sampling_ratio=0, aligned=True)
        for number, (x, stride) in enumerate(zip(maps, STRIDES, strict=True))
    ]
    return torch.cat(pooled)[order.argsort()]
