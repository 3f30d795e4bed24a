"""From pictures to what a detector finds in them, at their own size; large pictures also tile by tile."""

from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor, nn
from torch.nn.functional import grid_sample, interpolate

from gcvit.data import masks as run_lengths
from gcvit.data.detect_transforms import EvalDetection
from gcvit.model.config import Pair
from gcvit.tasks.detect.boxes import Boxes, class_wise_nms
from gcvit.tasks.detect.objects import Detections
from gcvit.tasks.detect.pasting import AT_ONCE, HALF, paste
from gcvit.tasks.detect.settings import DetectLooks, DetectPreprocessing
from gcvit.tasks.opened import Opened

OVERLAP = 0.25  # of a tile's side, of neighbouring tiles
CUT = 2.0  # pixels from a tile's inner edge, within which a box counts as cut off
WITHIN = 0.8  # share of a part's box that lies in the object's
PAIRED = 256  # detections that are held against all others at once; of many tiles all pairs would take gigabytes

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


def found_in(opened: Opened, model: nn.Module, images: Tensor, size: Pair, looks: DetectLooks) -> list[Found]:
    """What a folded detector finds in pictures of one size (height, width), which it sees as `images`; with tiles they
    were not resized."""
    model.limit(looks.proposals, looks.max_detections)  # type: ignore[operator]
    if looks.tiles is not None:
        seen = as_seen(opened.preprocessing, exported=opened.exported).seen
        return find_in_tiles(model, images, size, looks.tiles, seen)
    shown = (images.shape[2], images.shape[3])
    return [at_size(_scaled(found, shown, size), size) for found in model(images)]


def as_seen(prepared: DetectPreprocessing, *, exported: bool) -> EvalDetection:
    """What turns a picture into what goes through the model, or through an exported file, at its upper left."""
    room = prepared.size if exported else None
    return EvalDetection(prepared.short, prepared.long, prepared.mean, prepared.std, room)


def find_in_tiles(model: nn.Module, images: Tensor, size: Pair, tile: int, seen: Seen) -> list[Found]:
    """What a folded detector finds in pictures of `size` that were not resized, seen as a whole and in overlapping
    tiles, which show small objects. What a tile's inner edge may have cut off is left to its neighbour or the whole,
    parts that something hides at that edge go with the object; one class-wise NMS makes objects of all.

    model: a folded `Detector`. tile: their side in pixels. seen: the size at which the model sees one of another.
    """
    return [at_size(_merged(model, list(_views(model, image, tile, seen))), size) for image in images]


class View(NamedTuple):
    """What is found in a picture or a tile, in the picture's pixels. window: how far it shows the picture: left, top,
    right and lower edge, infinite where the picture ends."""

    found: Detections
    window: tuple[float, float, float, float]


def _views(model: nn.Module, image: Tensor, tile: int, seen: Seen) -> Iterator[View]:
    """The whole picture and each tile, without what a tile's inner edge may have cut off."""
    height, width = image.shape[1], image.shape[2]
    small = seen((height, width))
    (found,) = model(interpolate(image[None], small, mode="bilinear", antialias=True, align_corners=False))
    yield View(_scaled(found, small, (height, width)), (-inf, -inf, inf, inf))
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
            right, below = left + tile, top + tile
            window = (left or -inf, top or -inf, right if right < width else inf, below if below < height else inf)
            whole = ~_sticks_out(boxes, boxes.new_tensor([window]) + boxes.new_tensor([CUT, CUT, -CUT, -CUT]))[:, 0]
            yield View(_chosen(found._replace(boxes=boxes), whole), window)


def _starts(side: int, tile: int) -> list[int]:
    """Where tiles begin along a side: evenly, with at least the overlap."""
    if side <= tile:
        return [0]
    number = 1 + -(-(side - tile) // max(int(tile * (1 - OVERLAP)), 1))
    return [round(place * (side - tile) / (number - 1)) for place in range(number)]


def _sticks_out(boxes: Boxes, windows: Boxes) -> Bool[Tensor, "boxes windows"]:
    """Whether each box goes beyond each window."""
    return ((boxes[:, None, :2] < windows[:, :2]) | (boxes[:, None, 2:] > windows[:, 2:])).any(2)


def _merged(model: Any, views: Sequence[View]) -> Detections:
    config, every = model.used, [view.found for view in views]
    boxes, scores, labels = (torch.cat([getattr(one, key) for one in every]) for key in ("boxes", "scores", "labels"))
    masks = torch.cat([one.masks for one in every if one.masks is not None]) if config.masks else None
    found = Detections(boxes, scores, labels, masks)
    windows = torch.cat([boxes.new_tensor([view.window]).expand(len(view.found.boxes), 4) for view in views])
    found = _chosen(found, ~_parts(found, windows))
    return _chosen(found, class_wise_nms(*found[:3], config.nms)[: config.detections])


def _parts(found: Detections, windows: Boxes) -> Bool[Tensor, "detections"]:  # noqa: F821
    """Which detections are parts of another one of their class, at least half as sure, that goes on beyond what their
    tile shows, and that something hides at its edge: in its box, and by half on its mask. Without masks nobody can
    tell."""
    boxes, scores, labels, masks = found
    part = torch.zeros_like(labels, dtype=torch.bool)
    if masks is None:
        return part
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    for wholes in torch.arange(len(boxes), device=boxes.device).split(PAIRED):
        some = boxes[wholes, None]
        common = (torch.minimum(some[..., 2:], boxes[:, 2:]) - torch.maximum(some[..., :2], boxes[:, :2])).clamp_min(0)
        inside = (common.prod(2) > WITHIN * area) & (area > 0) & (labels[wholes, None] == labels)
        inside &= _sticks_out(boxes[wholes], windows) & (2 * scores[wholes, None] >= scores)
        for place, one in inside.nonzero().tolist():
            whole = wholes[place]
            part[one] |= _covers(boxes[whole], masks[whole], boxes[one], masks[one])
    return part


def _covers(whole: Tensor, mask: Tensor, box: Tensor, own: Tensor) -> bool:
    """Whether more than half of a mask, (28, 28) in `box`, lies on another, of the same size in the box `whole`."""
    cells = len(own)
    middle = (torch.arange(cells, device=box.device) + 0.5) / cells
    at = (box[:2] + (box[2:] - box[:2]) * middle[:, None] - whole[:2]) / (whole[2:] - whole[:2])  # x, y of each cell
    grid = torch.stack(torch.meshgrid(at[:, 0], at[:, 1], indexing="xy"), -1)[None] * 2 - 1
    under = grid_sample(mask[None, None].float(), grid.float(), align_corners=False)[0, 0] >= HALF
    return bool(2 * ((own >= HALF) & under).sum() > (own >= HALF).sum())


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
