"""The region proposal network (Ren et al., 2015): where there is something, whatever it is; and the anchors from
which it starts, one size a level (Lin et al., 2017)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image, nms

from gcvit.data.sampling import derive_seed
from gcvit.model.config import Pair
from gcvit.tasks.detect.boxes import Boxes, Deltas, decode, distance, encode, fp32, has_area
from gcvit.tasks.detect.matching import draw, match
from gcvit.tasks.detect.objects import Targets
from gcvit.tasks.detect.settings import HeadConfig
from gcvit.tasks.pyramid import Map

STRIDES = (4, 8, 16, 32, 64)
RATIOS = (0.5, 1.0, 2.0)  # of an anchor's height to its width
STDS = (1.0, 1.0, 1.0, 1.0)
POSITIVE, NEGATIVE, FLOOR = 0.7, 0.3, 0.3  # IoUs with an object; the floor is for the anchors closest to one
TRAIN_CANDIDATES, CANDIDATES = 2000, 1000  # of a level
ROOM = 8  # candidates of a level for each proposal that is wanted, where these are few: what NMS leaves is enough
OVERLAP = 0.7  # IoU of proposals from one level


class Level(NamedTuple):
    """What the RPN says of one level of one picture, or of each of a batch: for each anchor how likely an object is, as
    a logit, and what leads from the anchor to it."""

    anchors: Boxes
    logits: Float[Tensor, "*batch anchors"]
    deltas: Deltas


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


class RPN(nn.Module):
    """One convolution and two outputs, the same on all levels."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        width = config.channels
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.classifier = nn.Conv2d(width, len(RATIOS), 1)
        self.regressor = nn.Conv2d(width, 4 * len(RATIOS), 1)
        for layer in (self.conv, self.classifier, self.regressor):
            nn.init.normal_(layer.weight, std=0.01)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, maps: Sequence[Map]) -> list[list[Level]]:
        """The levels of each picture of a batch; maps: (batch, channels, rows, columns), strides 4 to 64."""
        each = [[Level(start, *found) for found in zip(*said, strict=True)] for start, *said in self.levels(maps)]
        return [list(picture) for picture in zip(*each, strict=True)]

    def levels(self, maps: Sequence[Map]) -> list[Level]:
        """The levels of all pictures at once, a batch of logits and of deltas each."""
        levels = []
        for x, stride in zip(maps, STRIDES, strict=True):
            hidden = F.relu(self.conv(x))
            logits = fp32(self.classifier(hidden)).permute(0, 2, 3, 1).flatten(1)
            deltas = fp32(self.regressor(hidden)).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4)
            start = anchors((x.shape[2], x.shape[3]), stride, self.config.anchor_scale, logits)
            levels.append(Level(start, logits, deltas))
        return levels

    @torch.no_grad()
    def proposals(self, levels: Sequence[Level], size: Pair, *, training: bool) -> Boxes:
        """The likeliest boxes of a picture of `size`, within it, the likeliest first. There is always one: the whole
        picture, where nothing else has an area."""
        if training:
            number, candidates = self.config.train_proposals or self.config.form.train_proposals, TRAIN_CANDIDATES
        else:
            number, candidates = self.config.proposals, CANDIDATES
        candidates = min(candidates, ROOM * number)
        boxes, scores = [], []
        for level in levels:
            sure = level.logits.sigmoid()
            first = sure.argsort(descending=True, stable=True)[:candidates]
            found = clip_boxes_to_image(decode(level.anchors[first], level.deltas[first], STDS), size)
            real = has_area(found)
            found, sure = found[real], sure[first][real]
            kept = nms(found, sure, OVERLAP)
            boxes.append(found[kept])
            scores.append(sure[kept])
        best = torch.cat(scores).argsort(descending=True, stable=True)[:number]
        return torch.cat(boxes)[best] if len(best) else boxes[0].new_tensor([[0.0, 0.0, size[1], size[0]]])

    def losses(
        self, pictures: Sequence[Sequence[Level]], sizes: Sequence[Pair], objects: Sequence[Targets]
    ) -> dict[str, Tensor]:
        """Both losses, each a sum over the anchors that were drawn, divided by their number in all pictures."""
        objectness, box, number = [], [], 0
        for levels, size, real in zip(pictures, sizes, objects, strict=True):
            start, logits, deltas = (torch.cat(part) for part in zip(*levels, strict=True))
            within = inside(start, size, self.config.form.border).nonzero()[:, 0]
            matched = match(start[within], real.boxes, POSITIVE, NEGATIVE, FLOOR)
            positives, negatives = draw(matched, self.config.anchor_samples, 0.5, derive_seed(real.seed, 0))
            number += max(len(positives), 1) + max(len(negatives), 1)  # as published
            chosen = within[positives]
            objectness += [F.softplus(-logits[chosen]).sum(), F.softplus(logits[within[negatives]]).sum()]
            wanted = encode(start[chosen], real.boxes[matched[positives]], STDS)
            box.append(distance(deltas[chosen], wanted, self.config.form.rpn_beta))
        return {"objectness": torch.stack(objectness).sum() / number, "proposal": torch.stack(box).sum() / number}
