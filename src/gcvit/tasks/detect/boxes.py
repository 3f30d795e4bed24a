"""Boxes (left, top, right, bottom) in pixels: how far one lies from another, as numbers that a network can learn."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import smooth_l1_loss
from torchvision.ops import nms

Boxes = Float[Tensor, "*boxes 4"]
Deltas = Float[Tensor, "*boxes 4"]
Stds = Sequence[float]

MOST = math.log(1000 / 16)  # of a change in width or height, up or down, as a logarithm: 62.5 times


def encode(boxes: Boxes, objects: Boxes, stds: Stds) -> Deltas:
    """What leads from each box to its object (Girshick et al., 2014, appendix C): by how much the middle moves, in
    widths and heights of the box, and the logarithms of how much wider and higher it becomes; each divided by its
    standard deviation in `stds`. Both must have an area."""
    (middle, size), (object_middle, object_size) = _middle_and_size(boxes), _middle_and_size(objects)
    deltas = torch.cat([(object_middle - middle) / size, (object_size / size).log()], -1)
    return deltas / deltas.new_tensor(stds)


def decode(boxes: Boxes, deltas: Deltas, stds: Stds) -> Boxes:
    """Where `deltas` lead, the inverse of `encode`; none becomes more than 62.5 times as wide or high, or as narrow or
    low. Leading axes are broadcast."""
    middle, size = _middle_and_size(boxes)
    deltas = deltas * deltas.new_tensor(stds)
    middle = middle + size * deltas[..., :2]
    half = size * deltas[..., 2:].clamp(-MOST, MOST).exp() / 2
    return torch.cat([middle - half, middle + half], -1)


def distance(found: Deltas, wanted: Deltas, beta: float = 0.0) -> Tensor:
    """Smooth L1 of all deltas together (Girshick, 2015): a square up to `beta`, and L1 where that is 0."""
    return smooth_l1_loss(found, wanted.to(found.dtype), reduction="sum", beta=beta)


def has_area(boxes: Boxes) -> Bool[Tensor, "*boxes"]:
    """Which boxes have a width and a height above 0."""
    return ((boxes[..., 2:] - boxes[..., :2]) > 0).all(-1)


def class_wise_nms(
    boxes: Boxes,
    scores: Float[Tensor, "boxes"],  # noqa: F821
    labels: Int[Tensor, "boxes"],  # noqa: F821
    iou: float,
) -> Int[Tensor, "kept"]:  # noqa: F821
    """The boxes that no surer one of their class overlaps by more than `iou`: their numbers, the surest first, equally
    sure ones in their order."""
    if not len(boxes):
        return labels.new_zeros(0, dtype=torch.int64)
    # Classes are laid out apart from each other. In fp32 their coordinates would lose digits, and IoUs with them.
    boxes = boxes.double()
    apart = boxes.max() - boxes.min() + 1
    return nms(boxes + (labels * apart)[:, None], scores.double(), iou)


def fp32(x: Tensor) -> Tensor:
    """In fp32 at least, whatever mixed precision has made of it."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _middle_and_size(boxes: Boxes) -> tuple[Tensor, Tensor]:
    return (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
