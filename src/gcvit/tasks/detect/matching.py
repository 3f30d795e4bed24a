"""Which boxes stand for which objects, and which of them training looks at."""

import torch
from jaxtyping import Int
from torch import Tensor
from torchvision.ops import box_iou

from gcvit.tasks.detect.boxes import Boxes

BACKGROUND, BETWEEN = -1, -2
ROOM = 2**22  # numbers in the largest table of IoUs; a picture of a megapixel has 268,000 anchors


def match(boxes: Boxes, objects: Boxes, positive: float, negative: float, floor: float | None) -> Int[Tensor, "boxes"]:  # noqa: F821
    """For each box the number of its object, BACKGROUND, or BETWEEN.

    A box belongs to the object with which it has the highest IoU, the first of several, if that is at least `positive`;
    below `negative` it is background. floor: where it is given, the boxes that come closest to an object belong to it
    whatever else was found, if their IoU is at least that; of several objects with the same closest box the last one
    gets it.
    """
    best = boxes.new_zeros(len(boxes))
    matched = torch.full_like(best, BETWEEN, dtype=torch.int64)
    claimed = torch.full_like(matched, BACKGROUND)
    step = max(ROOM // max(len(boxes), 1), 1)
    for start in range(0, len(objects) if len(boxes) else 0, step):
        iou = box_iou(objects[start : start + step], boxes).nan_to_num(0.0)  # of two boxes without area
        value, index = iou.max(0)
        higher = (value > best) if start else torch.ones_like(value, dtype=torch.bool)
        best, matched = torch.where(higher, value, best), torch.where(higher, index + start, matched)
        if floor is not None:
            closest = iou.amax(1, keepdim=True)
            number, box = ((iou == closest) & (closest >= floor)).nonzero().unbind(1)
            claimed.scatter_reduce_(0, box, number + start, "amax")
    matched = torch.where(best >= positive, matched, BETWEEN)
    matched = torch.where(best < negative, BACKGROUND, matched)
    return torch.where(claimed >= 0, claimed, matched)


def draw(
    matched: Int[Tensor, "boxes"],  # noqa: F821
    number: int,
    share: float,
    seed: int,
) -> tuple[Int[Tensor, "positives"], Int[Tensor, "negatives"]]:  # noqa: F821
    """Draw `number` boxes at random, or as many as there are: up to `share` of them with an object, the rest from the
    background. Returns the numbers of both, in rising order; they are a function of the arguments alone."""
    generator = torch.Generator().manual_seed(seed)
    positives = _some((matched >= 0).nonzero()[:, 0], int(number * share), generator)
    return positives, _some((matched == BACKGROUND).nonzero()[:, 0], number - len(positives), generator)


def _some(of: Tensor, number: int, generator: torch.Generator) -> Tensor:
    if len(of) <= number:
        return of
    chosen = torch.randperm(len(of), generator=generator)[:number].sort().values
    return of[chosen.to(of.device)]
