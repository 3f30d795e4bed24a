"""What is made of proposals: one box head and mask head in Mask R-CNN (He et al., 2017), three of each in a cascade
(Cai and Vasconcelos, 2018), where each stage starts from the boxes of the one before."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image, generalized_box_iou_loss

from gcvit.data.sampling import derive_seed
from gcvit.model.config import Pair
from gcvit.tasks.detect.boxes import Boxes, class_wise_nms, decode, distance, encode, fp32
from gcvit.tasks.detect.heads import BOX_CELLS, MASK_CELLS, MASK_SIDE, BoxHead, MaskHead
from gcvit.tasks.detect.matching import draw, match
from gcvit.tasks.detect.objects import Detections, Targets
from gcvit.tasks.detect.pasting import mask_targets
from gcvit.tasks.detect.pooler import pool
from gcvit.tasks.detect.settings import HeadConfig, Stage
from gcvit.tasks.pyramid import Map
from gcvit.weights.checks import check_answers

POSITIVE_SHARE = 0.25  # of the boxes that a head learns from
GIOU_WEIGHT = 10.0

Maps = Sequence[Map]  # of one picture: (1, channels, rows, columns), strides 4, 8, 16 and 32


class Drawn(NamedTuple):
    """The boxes of a picture that a stage learns from, those on objects first.

    labels: the number of classes for the background. objects: the number of each positive's object. given: how many of
    them, the first, are the objects' own boxes.
    """

    boxes: Boxes
    labels: Int[Tensor, "boxes"]  # noqa: F821
    objects: Int[Tensor, "positives"]  # noqa: F821
    given: int


class RoIHeads(nn.Module):
    """The stages of a detector's form. classes: without the background."""

    def __init__(self, classes: int, config: HeadConfig) -> None:
        super().__init__()
        self.classes, self.config = classes, config
        self.stages: tuple[Stage, ...] = config.form.stages
        self.box_heads = nn.ModuleList(BoxHead(classes, config) for _ in self.stages)
        self.mask_heads = nn.ModuleList(MaskHead(classes, config) for _ in self.stages if config.masks)

    # Training.

    def losses(
        self, maps: Sequence[Maps], sizes: Sequence[Pair], proposals: Sequence[Boxes], objects: Sequence[Targets]
    ) -> dict[str, Tensor]:
        """The losses of each stage, with its weight: of classes, boxes and masks."""
        losses: dict[str, Tensor] = {}
        for number, stage in enumerate(self.stages):
            drawn = [self.draw(number, boxes, real) for boxes, real in zip(proposals, objects, strict=True)]
            parts, logits, deltas = self._box_losses(number, maps, drawn, objects)
            if self.config.masks:
                parts["mask"] = self._mask_loss(number, maps, sizes, drawn, objects)
            name = str(number + 1) if len(self.stages) > 1 else ""
            losses |= {part + name: stage.weight * loss for part, loss in parts.items()}
            if number + 1 < len(self.stages):
                counts = [len(one.boxes) for one in drawn]
                each = zip(drawn, logits.split(counts), deltas.split(counts), sizes, strict=True)
                proposals = [self.refine(number, *picture) for picture in each]
        return losses

    def draw(self, number: int, boxes: Boxes, real: Targets) -> Drawn:
        """What stage `number` learns from in a picture, the objects' own boxes among it."""
        stage, config = self.stages[number], self.config
        matched = match(boxes, real.boxes, stage.iou, stage.iou, stage.iou if config.form.closest else None)
        own = torch.arange(len(real.boxes), device=matched.device)
        boxes, matched = torch.cat([real.boxes.to(boxes.dtype), boxes]), torch.cat([own, matched])
        seed = derive_seed(real.seed, 1 + number)
        positives, negatives = draw(matched, config.box_samples, POSITIVE_SHARE, seed)
        found = matched[positives]
        labels = torch.cat([real.labels[found], torch.full_like(negatives, self.classes)])
        return Drawn(boxes[torch.cat([positives, negatives])], labels, found, int((positives < len(own)).sum()))

    def _box_losses(
        self, number: int, maps: Sequence[Maps], drawn: Sequence[Drawn], objects: Sequence[Targets]
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """The losses, both divided by the boxes that were drawn, and what the head says of these."""
        features = torch.cat([pool(x, one.boxes, BOX_CELLS) for x, one in zip(maps, drawn, strict=True)])
        logits, deltas = (fp32(output) for output in self.box_heads[number](features))
        boxes, labels = torch.cat([one.boxes for one in drawn]), torch.cat([one.labels for one in drawn])
        positives = (labels < self.classes).nonzero()[:, 0]
        wanted = torch.cat([real.boxes[one.objects] for real, one in zip(objects, drawn, strict=True)])
        boxes, found, stds = boxes[positives], deltas[positives, labels[positives]], self.stages[number].stds
        if self.config.form.giou:
            loss = GIOU_WEIGHT * generalized_box_iou_loss(decode(boxes, found, stds), wanted, reduction="sum")
        else:
            loss = distance(found, encode(boxes, wanted, stds))
        return {"class": F.cross_entropy(logits, labels), "box": loss / len(labels)}, logits, deltas

    def _mask_loss(
        self,
        number: int,
        maps: Sequence[Maps],
        sizes: Sequence[Pair],
        drawn: Sequence[Drawn],
        objects: Sequence[Targets],
    ) -> Tensor:
        """The mean over the positives' cells, of their own class's logits; 0 where there are no positives."""
        features, labels, wanted = [], [], []
        for x, size, one, real in zip(maps, sizes, drawn, objects, strict=True):
            assert real.masks is not None, "a model with masks learns from objects with masks"
            boxes = one.boxes[: len(one.objects)]
            features.append(pool(x, boxes, MASK_CELLS))
            labels.append(one.labels[: len(one.objects)])
            wanted.append(mask_targets(real.masks, one.objects, clip_boxes_to_image(boxes, size), MASK_SIDE))
        logits = fp32(self.mask_heads[number](torch.cat(features)))
        label = torch.cat(labels)
        logits = logits[torch.arange(len(label), device=label.device), label]
        loss = F.binary_cross_entropy_with_logits(logits, torch.cat(wanted).to(logits.dtype), reduction="sum")
        return loss / max(logits.numel(), 1)

    @torch.no_grad()
    def refine(self, number: int, drawn: Drawn, logits: Tensor, deltas: Tensor, size: Pair) -> Boxes:
        """Where stage `number` moves the boxes it has learned from, without the objects' own: by their label's deltas,
        the background's by their likeliest class's."""
        label = torch.where(drawn.labels < self.classes, drawn.labels, logits[:, :-1].argmax(1))
        return self.moved(number, drawn.boxes, deltas, label, size)[drawn.given :]

    # Prediction.

    def forward(self, maps: Maps, size: Pair, proposals: Boxes) -> Detections:
        """What is found in one picture of `size`: classes by the mean of the stages' logits, boxes by the last stage,
        masks by the mean of the stages' probabilities."""
        boxes, total = proposals, proposals.new_zeros(())
        for number, head in enumerate(self.box_heads):
            logits, deltas = (fp32(output) for output in head(pool(maps, boxes, BOX_CELLS)))
            total = total + logits
            if number + 1 < len(self.stages):
                boxes = self.moved(number, boxes, deltas, logits[:, :-1].argmax(1), size)
        scores = (total / len(self.stages)).softmax(1)[:, :-1]
        check_answers(scores, "this detector")  # a NaN would be a low score
        box, label = (scores > self.config.min_score).nonzero().unbind(1)
        boxes, scores = self.moved(len(self.stages) - 1, boxes[box], deltas[box], label, size), scores[box, label]
        kept = class_wise_nms(boxes, scores, label, self.config.nms)[: self.config.detections]
        boxes, scores, label = boxes[kept], scores[kept], label[kept]
        return Detections(boxes, scores, label, self._masks(maps, boxes, label) if self.config.masks else None)

    def logit(self, maps: Maps, box: Boxes, label: int) -> Tensor:
        """What the last stage's box head says of one box (1, 4) for a class: a scalar, with gradients."""
        logits, _ = self.box_heads[-1](pool(maps, box, BOX_CELLS))
        return fp32(logits)[0, label]

    def moved(self, number: int, boxes: Boxes, deltas: Tensor, label: Tensor, size: Pair) -> Boxes:
        """Boxes moved by their label's deltas (boxes, classes, 4), within the picture."""
        deltas = deltas[torch.arange(label.shape[0], device=label.device), label]
        return clip_boxes_to_image(decode(boxes, deltas, self.stages[number].stds), size)

    def _masks(self, maps: Maps, boxes: Boxes, label: Tensor) -> Float[Tensor, "boxes 28 28"]:
        features, each = pool(maps, boxes, MASK_CELLS), torch.arange(len(label), device=label.device)
        masks = torch.stack([fp32(head(features))[each, label].sigmoid() for head in self.mask_heads])
        return masks.mean(0)
