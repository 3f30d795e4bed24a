"""From pictures to what a detector finds in them, at their own size; large pictures also tile by tile."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from gcvit.data import masks as run_lengths
from gcvit.model.config import Pair
from gcvit.tasks.detect.boxes import class_wise_nms
from gcvit.tasks.detect.objects import Detections
from gcvit.tasks.detect.pasting import AT_ONCE, paste

OVERLAP = 0.25  # of a tile's side, of neighbouring tiles
CUT = 2.0  # pixels from a tile's inner edge, within which a box counts as cut off

Seen = Callable[[Pair], Pair]


class Found(NamedTuple):
    """What is found in a picture, in its own pixels, the surest first.

    boxes: float64 (found, 4), left, top, right, lower edge. scores: float64. labels: int64. masks: counts (see
    `gcvit.data.masks`); None from a model without masks.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: tuple[bytes, ...] | None


def find(model: nn.Module, images: Tensor, size: Pair) -> list[Found]:
    """What a folded detector finds in pictures of `size` (height, width), which it sees as `images`."""
    seen = (images.shape[2], images.shape[3])
    return [at_size(_scaled(found, seen, size), size) for found in model(images)]


def find_in_tiles(model: nn.Module, images: Tensor, size: Pair, tile: int, seen: Seen) -> list[Found]:
    """The same of pictures that were not resized, seen as a whole and in overlapping tiles, which show small objects.
    What a tile's inner edge may have cut off is left to its neighbour or the whole; one class-wise NMS makes objects of
    all.

    model: a folded `Detector`. tile: their side in pixels. seen: the size at which the model sees one of another.
    """
    return [at_size(_merged(model, list(_views(model, image, tile, seen))), size) for image in images]


def _views(model: nn.Module, image: Tensor, tile: int, seen: Seen) -> Iterator[Detections]:
    """What is found in the whole picture and in each tile, in the picture's pixels."""
    height, width = image.shape[1], image.shape[2]
    small = seen((height, width))
    (found,) = model(interpolate(image[None], small, mode="bilinear", antialias=True, align_corners=False))
    yield _scaled(found, small, (height, width))
    rows, columns = (_starts(side, tile) for side in (height, width))
    if len(rows) == len(columns) == 1:
        return
    for top in rows:
        for left in columns:
            part = image[:, top : top + tile, left : left + tile]
            shown = seen((part.shape[1], part.shape[2]))
            (found,) = model(interpolate(part[None], shown, mode="bilinear", antialias=True, align_corners=False))
            found = _scaled(found, shown, (part.shape[1], part.shape[2]))
            boxes = found.boxes + found.boxes.new_tensor([left, top, left, top])
            inner = [left > 0, top > 0, left + tile < width, top + tile < height]
            edges = boxes.new_tensor([left, top, left + part.shape[2], top + part.shape[1]])
            inwards = boxes.new_tensor([1, 1, -1, -1])
            cut = (inwards * (boxes - edges) < CUT) & torch.tensor(inner, device=boxes.device)
            yield _chosen(found._replace(boxes=boxes), ~cut.any(1))


def _starts(side: int, tile: int) -> list[int]:
    """Where tiles begin along a side: evenly, with at least the overlap."""
    if side <= tile:
        return [0]
    number = 1 + -(-(side - tile) // max(int(tile * (1 - OVERLAP)), 1))
    return [round(place * (side - tile) / (number - 1)) for place in range(number)]


def _merged(model: Any, views: Sequence[Detections]) -> Detections:
    config = model.used
    boxes, scores, labels = (torch.cat([getattr(one, key) for one in views]) for key in ("boxes", "scores", "labels"))
    masks = torch.cat([one.masks for one in views if one.masks is not None]) if config.masks else None
    kept = class_wise_nms(boxes, scores, labels, config.nms)[: config.detections]
    return _chosen(Detections(boxes, scores, labels, masks), kept)


def _chosen(found: Detections, which: Tensor) -> Detections:
    return Detections(*(None if part is None else part[which] for part in found))  # type: ignore[arg-type]


def _scaled(found: Detections, seen: Pair, size: Pair) -> Detections:
    """In the pixels of a picture of `size` that was seen at another size."""
    down, across = (own / shown for own, shown in zip(size, seen, strict=True))
    return found._replace(boxes=found.boxes * found.boxes.new_tensor([across, down, across, down]))


def at_size(found: Detections, size: Pair) -> Found:
    """With masks as run lengths of a picture of `size`, in whose pixels the boxes are; what of a box lies outside is
    cut off."""
    boxes, scores, labels = (part.cpu().numpy() for part in found[:3])
    masks: tuple[bytes, ...] | None = None
    if found.masks is not None:
        parts = zip(found.masks.split(AT_ONCE), found.boxes.split(AT_ONCE), strict=True)
        pasted = (paste(mask.float(), box.float(), size).cpu().numpy() for mask, box in parts if len(box))
        masks = tuple(counts for some in pasted for counts in run_lengths.encode(some.astype(np.uint8)))
    boxes = boxes.astype(np.float64).clip(0, [size[1], size[0], size[1], size[0]])
    return Found(boxes, scores.astype(np.float64), labels, masks)
