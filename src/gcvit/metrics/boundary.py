"""Which pixels lie near the edge of what they show, for the boundary IoU (Cheng et al., 2021)."""

from math import hypot

import torch
from torch import Tensor
from torch.nn.functional import pad

FRAME = -2  # around the image: neither a class nor ignored
SHARE = 0.02  # of the image's diagonal


def boundary_width(height: int, width: int) -> int:
    """Pixels that the band along an edge is wide: 2% of the diagonal, at least 1."""
    return max(1, round(SHARE * hypot(height, width)))


def boundary(labels: Tensor, width: int) -> Tensor:
    """Whether each pixel is within `width` pixels of another label or of the image's border, (height, width) bool.

    labels: (height, width), whole numbers. That is each label's mask less its erosion by a square of 2·width + 1
    pixels with zeros around the image, for all labels at once. The time does not depend on `width`.
    """
    height, breadth = labels.shape
    framed = pad(labels, (1, 1, 1, 1), value=FRAME)
    top, bottom = _reach(height, width, labels.device)
    left, right = _reach(breadth, width, labels.device)
    # A square shows one label when no two neighbours in it differ, neither side by side nor one above the other.
    beside = _within(framed[:, 1:] != framed[:, :-1], top, bottom + 1, left, right)
    above = _within(framed[1:] != framed[:-1], top, bottom, left, right + 1)
    return (beside | above).bool()


def _reach(length: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The first and the last pixel of each pixel's square along one side, in the framed image."""
    places = torch.arange(1, length + 1, device=device)
    return (places - width).clamp(min=0), (places + width).clamp(max=length + 1)


def _within(marks: Tensor, top: Tensor, bottom: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Number of marks in rows top … bottom - 1 and columns left … right - 1 of each pixel, from sums over corners."""
    sums = pad(marks.cumsum(0, dtype=torch.int32).cumsum(1, dtype=torch.int32), (1, 0, 1, 0))
    rows = sums[bottom] - sums[top]
    return rows[:, right] - rows[:, left]
