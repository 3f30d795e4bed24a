"""Detectors as they are exported, every step of a fixed shape, and exported files in their place."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import pad
from torchvision.ops import clip_boxes_to_image, nms, roi_align

from gcvit.errors import UserError
from gcvit.model.config import Pair
from gcvit.model.gcvit import Images, Map
from gcvit.tasks.detect.boxes import Boxes, decode, fp32, has_area
from gcvit.tasks.detect.detector import Detector
from gcvit.tasks.detect.heads import BOX_CELLS, MASK_CELLS, MASK_SIDE
from gcvit.tasks.detect.objects import Detections
from gcvit.tasks.detect.pooler import STRIDES, levels_of
from gcvit.tasks.detect.rpn import CANDIDATES, OVERLAP, ROOM, STDS
from gcvit.tasks.detect.settings import HeadConfig
from gcvit.tasks.pyramid import filled

LIKE = 1.0  # pixels between the edges of two boxes, below which they may be the same detection
RARE = 100


@torch.library.custom_op("gcvit::unsuppressed", mutates_args=())
def unsuppressed(boxes: Tensor, scores: Tensor, iou: float, most: int) -> Tensor:
    """Which boxes no surer one of their group overlaps by more than `iou`, the surest `most` of them: (groups, boxes),
    bool. boxes: (groups, boxes, 4). scores: (groups, boxes); a box is there if its score is above 0.

    Non-maximum suppression whose result has a known shape; `gcvit.export.convert` writes it for other runtimes.
    """
    kept = torch.zeros_like(scores, dtype=torch.bool)
    for group, (box, score) in enumerate(zip(boxes, scores, strict=True)):
        there = (score > 0).nonzero()[:, 0]
        kept[group, there[nms(box[there], score[there], iou)[:most]]] = True
    return kept


@unsuppressed.register_fake
def _(boxes: Tensor, scores: Tensor, iou: float, most: int) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


class PaddedDetections(nn.Module):
    """What an exported detector gives: images (batch, channels, height, width) to `OUTPUTS`.

    Called as it is, it is the detector itself, so that a file is compared with that; exported, it is `fixed`.
    """

    def __init__(self, model: Detector) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Images) -> list[Tensor]:
        if torch.compiler.is_exporting():
            return self.fixed(images)
        rows = [_padded(found, self.model.head_config.detections) for found in self.model(images)]
        return [torch.stack(part) for part in zip(*rows, strict=True)]

    def fixed(self, images: Images) -> list[Tensor]:
        """The same without a shape that depends on the pictures."""
        model, size = self.model, (images.shape[2], images.shape[3])
        heads, config = model.roi_heads, model.head_config
        pyramid = model.merged(model.backbone.pyramid(images))
        maps = [fp32(x) for x in pyramid[: len(STRIDES)]]
        boxes, real = self._proposals(pyramid, size)
        number, total = boxes.shape[1], boxes.new_zeros(())
        for stage, head in enumerate(heads.box_heads):
            logits, deltas = (fp32(output) for output in head(_pool(maps, boxes, BOX_CELLS)))
            total = total + logits
            if stage + 1 < len(heads.stages):
                label = logits[:, :-1].argmax(1)
                boxes = heads.moved(stage, boxes.flatten(0, 1), deltas, label, size).unflatten(0, (-1, number))
        scores = (total / len(heads.stages)).softmax(1)[:, :-1].unflatten(0, (-1, number))
        scores = torch.where(real[:, :, None] & (scores > config.min_score), scores, 0.0)
        moved = decode(boxes[:, :, None], deltas.unflatten(0, (-1, number)), heads.stages[-1].stds)
        boxes = clip_boxes_to_image(moved, size)  # of all classes: (batch, proposals, classes, 4)
        kept = unsuppressed(
            boxes.transpose(1, 2).flatten(0, 1), scores.transpose(1, 2).flatten(0, 1), config.nms, config.detections
        )
        kept = kept.unflatten(0, (-1, heads.classes)).transpose(1, 2)
        scores, place = _best(torch.where(kept, scores, 0.0).flatten(1), config.detections)
        found, boxes, labels = scores > 0, _rows(boxes.flatten(1, 2), place), place % heads.classes
        parts = [boxes * found[:, :, None], scores, labels * found]
        if config.masks:
            parts.append(self._masks(maps, boxes, labels) * found[:, :, None, None])
        boxes, scores, labels, *masks = (_filled(x, 1, config.detections) for x in parts)
        return [boxes, scores, labels, found.sum(1), *masks]

    def _proposals(self, pyramid: Sequence[Map], size: Pair) -> tuple[Boxes, Bool[Tensor, "batch proposals"]]:
        """As many for each picture as the settings say, or as there are anchors, and which of them are real."""
        model, number = self.model, self.model.head_config.proposals
        boxes, scores = [], []
        for level in model.rpn.levels(pyramid):
            sure, first = _best(level.logits.sigmoid(), min(CANDIDATES, ROOM * number))
            found = clip_boxes_to_image(decode(level.anchors[first], _rows(level.deltas, first), STDS), size)
            sure = torch.where(has_area(found), sure, 0.0)
            boxes.append(found)
            scores.append(torch.where(unsuppressed(found, sure, OVERLAP, number), sure, 0.0))
        sure, best = _best(torch.cat(scores, 1), number)
        real = sure > 0
        whole = torch.tensor([0.0, 0.0, size[1], size[0]])
        found = torch.where(real[:, :, None], _rows(torch.cat(boxes, 1), best), whole)
        return found, torch.cat([torch.ones_like(real[:, :1]), real[:, 1:]], 1)

    def _masks(self, maps: Sequence[Map], boxes: Boxes, labels: Tensor) -> Float[Tensor, "batch detections 28 28"]:
        features, label = _pool(maps, boxes, MASK_CELLS), labels.flatten()[:, None, None, None]
        label = label.expand(-1, 1, MASK_SIDE, MASK_SIDE)
        masks = torch.stack(
            [fp32(head(features)).gather(1, label).sigmoid() for head in self.model.roi_heads.mask_heads]
        )
        return masks.mean(0)[:, 0].unflatten(0, (-1, labels.shape[1]))


class ExportedDetector(nn.Module):
    """The detector in a file, which takes images of one size: smaller ones are continued with zeros, the mean colour,
    to the right and below.

    head: its settings. classes: how many it tells apart.
    """

    def __init__(self, program: Callable[[Tensor], list[Tensor]], size: Pair, head: HeadConfig, classes: int) -> None:
        super().__init__()
        self.program, self.size, self.classes, self.head_config = program, size, classes, head
        self.used = head  # as `limit` leaves them

    def forward(self, images: Sequence[Tensor] | Images) -> list[Detections]:
        """What is found in each picture, of at most `size`; a box may go on in what the picture was continued with.

        Raises UserError for labels that the sidecar has no name for.
        """
        outputs = self.program(torch.stack([filled(image, self.size) for image in images]))
        outputs[2] = outputs[2].long()
        found = []
        for image, count, (boxes, scores, labels, *masks) in zip(
            images, outputs[3].tolist(), zip(*outputs[:3], *outputs[4:], strict=True), strict=True
        ):
            if not 0 <= int(count) <= len(scores) or not ((labels >= 0) & (labels < self.classes)).all():
                raise UserError("this file finds objects that its sidecar does not name; export the model again")
            there = torch.arange(len(scores)) < count
            there &= has_area(clip_boxes_to_image(boxes, (image.shape[1], image.shape[2])))
            kept = there.nonzero()[: self.used.detections, 0]
            found.append(Detections(boxes[kept], scores[kept], labels[kept], masks[0][kept] if masks else None))
        return found

    def limit(self, proposals: int | None, detections: int | None) -> None:
        """Tell so many objects at most from now on; None: as the head's settings say. Raises UserError for what was
        settled when the file was made."""
        usual = self.head_config
        if proposals not in (None, usual.proposals):
            raise UserError(f"--proposals {proposals}: this file looks into {usual.proposals} boxes; leave it out")
        if (detections or 0) > usual.detections:
            raise UserError(f"--max-detections {detections}: this file gives {usual.detections} at most")
        self.used = replace(usual, detections=detections or usual.detections)


def misfit(outputs: Sequence[Tensor], head: HeadConfig) -> str | None:
    """What is wrong with what a file gives of one image, by the settings in its sidecar."""
    most = head.detections
    shapes = [(1, most, 4), (1, most), (1, most), (1,), *([(1, most, MASK_SIDE, MASK_SIDE)] if head.masks else [])]
    return None if [tuple(x.shape) for x in outputs] == shapes else "does not give what its sidecar says"


def paired(found: Sequence[Tensor], expected: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Both with the detections that have their like in the other, in the same places: rounding makes those that are
    equally sure change places.

    It also decides, once in a while, whether a box is suppressed. So one detection in `RARE` may have no like; where
    there are more, both stay as they are.
    """
    ours, theirs = [], []
    for boxes, labels, count, *other in zip(
        found[0], found[2], found[3], expected[0], expected[2], expected[3], strict=True
    ):
        box, label, number = other
        apart = (boxes[: int(count), None] - box[: int(number)]).abs().amax(2)
        apart = apart.masked_fill(labels[: int(count), None] != label[: int(number)], inf)
        apart = torch.cat([apart, apart.new_full((1, apart.shape[1]), LIKE)])
        pairs = []
        for place in range(int(number)):
            nearest = int(apart[:, place].argmin())
            if nearest < int(count):
                pairs.append((nearest, place))
                apart[nearest] = inf
        ours.append([pair[0] for pair in pairs])
        theirs.append([pair[1] for pair in pairs])
    number = int(found[3].sum() + expected[3].sum())
    lone = number - 2 * sum(map(len, ours))
    if lone * RARE > number:
        return list(found), list(expected)
    return _chosen(found, ours), _chosen(expected, theirs)


def _chosen(outputs: Sequence[Tensor], rows: Sequence[list[int]]) -> list[Tensor]:
    """Of each picture the detections with these numbers."""
    boxes, scores, labels, _, *masks = (
        torch.stack([_filled(row[which], 0, len(row)) for row, which in zip(x, rows, strict=True)]) if x.ndim > 1 else x
        for x in outputs
    )
    return [boxes, scores, labels, torch.tensor([len(which) for which in rows]), *masks]


def _padded(found: Detections, number: int) -> list[Tensor]:
    boxes, scores, labels, *masks = (_filled(x, 0, number) for x in found if x is not None)
    return [boxes, scores, labels, torch.tensor(len(found.scores), device=scores.device), *masks]


def _filled(x: Tensor, axis: int, number: int) -> Tensor:
    """Zeros behind, up to `number` along an axis."""
    return pad(x, (0, 0) * (x.ndim - 1 - axis) + (0, number - x.shape[axis]))


def _best(scores: Float[Tensor, "batch all"], number: int) -> tuple[Tensor, Tensor]:
    """The highest `number` of each row, or all, and their places."""
    return scores.topk(min(number, scores.shape[1]))


def _rows(of: Float[Tensor, "batch all 4"], which: Tensor) -> Float[Tensor, "batch chosen 4"]:
    return of.gather(1, which[:, :, None].expand(-1, -1, 4))


def _pool(maps: Sequence[Map], boxes: Boxes, cells: int) -> Float[Tensor, "boxes channels cells cells"]:
    """`pool`, of each picture's boxes (batch, boxes, 4), picture after picture. On the levels that it is not pooled
    from a box is one pixel wide, which costs nothing; nor is a runtime asked what it makes of one without area."""
    batch, number = boxes.shape[:2]
    picture = torch.arange(batch, dtype=boxes.dtype)[:, None].expand(-1, number).flatten()[:, None]
    boxes = boxes.flatten(0, 1)
    level, there = levels_of(boxes), has_area(boxes)
    pooled: Tensor | float = 0.0
    for place, (x, stride) in enumerate(zip(maps, STRIDES, strict=True)):
        here = ((level == place) & there)[:, None]
        rois = torch.cat([picture, torch.where(here, boxes, torch.tensor([0.0, 0.0, 1.0, 1.0]))], 1)
        part = roi_align(x, rois, cells, 1 / stride, sampling_ratio=0, aligned=True)
        pooled = torch.where(here[:, :, None, None], part, pooled)
    return pooled  # type: ignore[return-value]
