"""What boxes can be seen to be wrong in, by themselves: those of other meanings, and those that are there twice."""

import numpy as np
import torch
from torchvision.ops import box_iou

CORNERS = "boxes that look like corners (x, y, x, y) and not (x, y, width, height)"
NEAR = 0.95  # IoU from which two boxes of one class are one object
_MANY = 2000  # objects of a picture; of more, only equal ones are compared


def look_like_corners(boxes: np.ndarray, sizes: np.ndarray) -> bool:
    """Whether boxes are not left, top, width, height, but left, top, right, lower edge: then each one's third number is
    above the first and its fourth above the second, and some would reach out of their pictures.

    boxes: (boxes, 4). sizes: (boxes, 2), height and width of each one's picture, 0 where it is unknown.
    """
    if len(boxes) < 3:
        return False
    larger = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    within = (boxes[:, 2] <= sizes[:, 1] + 1) & (boxes[:, 3] <= sizes[:, 0] + 1)
    known = sizes[:, 0] > 0
    beyond = known & ((boxes[:, :2] + boxes[:, 2:] - sizes[:, ::-1]).max(1) > 2)
    return bool(larger.mean() >= 0.99 and (within | ~known).mean() >= 0.99 and beyond.mean() >= 0.1)


def look_like_shares(boxes: np.ndarray) -> bool:
    """Whether boxes are told in shares of the picture's sides, and not in pixels."""
    return bool(len(boxes) and (np.abs(boxes) <= 1).all() and (boxes[:, 2:] > 0).any())


def near_repeats(boxes: np.ndarray, labels: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of a picture's objects that are one, by class and box: (the first, the other), by number; of each object
    one pair at most in which it is the other."""
    count = len(boxes)
    if count < 2:
        return []
    if count > _MANY:
        rows = np.concatenate([boxes, labels[:, None]], axis=1)
        _, first, of = np.unique(rows, axis=0, return_index=True, return_inverse=True)
        firsts = first[of.reshape(-1)]
        return [(int(one), other) for other, one in enumerate(firsts) if one != other]
    edges = torch.from_numpy(np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1))
    same = (box_iou(edges, edges).numpy() >= NEAR) & (labels[:, None] == labels[None])
    others = np.flatnonzero(np.tril(same, -1).any(1))
    return [(int(np.flatnonzero(same[other])[0]), other) for other in others.tolist()]
