"""A detector: a pyramid, a LayerNorm for each of its maps, a feature pyramid, the RPN, and the heads on its proposals.

A picture's detections are its own: pictures of one size share a pass through the pyramid, those of different sizes have
one each, and nothing is padded.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from gcvit.model.config import Pair
from gcvit.model.gcvit import Images
from gcvit.tasks.detect.boxes import fp32
from gcvit.tasks.detect.heads import BOX_CELLS, MASK_CELLS
from gcvit.tasks.detect.objects import Detections, Targets
from gcvit.tasks.detect.pooler import STRIDES
from gcvit.tasks.detect.roi_heads import RoIHeads
from gcvit.tasks.detect.rpn import RPN, Level
from gcvit.tasks.detect.settings import HeadConfig
from gcvit.tasks.pyramid import Backbone, Map, MapNorms, check_backbone, fold_heads


class Picture(NamedTuple):
    """One picture as the heads see it. size: (height, width) in pixels. levels: what the RPN says. maps: (1, channels,
    rows, columns) each, strides 4 to 32, for pooling."""

    size: Pair
    levels: list[Level]
    maps: list[Map]


class Detector(nn.Module):
    """The heads of Mask R-CNN or Cascade Mask R-CNN on a backbone's maps; GC ViT's in the paper (section 4.2).

    classes: without the background. head: what the heads are made of.
    Raises UserError for a classifier in the place of the backbone.
    """

    def __init__(self, backbone: Backbone, classes: int, head: HeadConfig) -> None:
        super().__init__()
        check_backbone(backbone)
        self.classes, self.head_config = classes, head
        self.norms = MapNorms(backbone.channels)
        self.fpn = FeaturePyramidNetwork(list(backbone.channels), head.channels, LastLevelMaxPool())
        for layer in self.fpn.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight)
        self.rpn = RPN(head)
        self.roi_heads = RoIHeads(classes, head)
        self.backbone = backbone

    def forward(
        self, images: Sequence[Tensor] | Images, objects: Sequence[Targets] | None = None
    ) -> dict[str, Tensor] | list[Detections]:
        """What is found in each picture, or, where their objects are given, the losses by name, to be summed.

        images: (channels, height, width) each, of any sizes of at least 32 px. The names of losses are the same for all
        batches, and every parameter gets a gradient from them, if only zero.
        """
        pictures = self.look(images)
        sizes = [picture.size for picture in pictures]
        training = objects is not None
        proposals = [self.rpn.proposals(picture.levels, picture.size, training=training) for picture in pictures]
        if objects is None:
            return [
                self.roi_heads(picture.maps, picture.size, boxes)
                for picture, boxes in zip(pictures, proposals, strict=True)
            ]
        objects = [real.with_area() for real in objects]
        maps = [picture.maps for picture in pictures]
        losses = self.rpn.losses([picture.levels for picture in pictures], sizes, objects)
        return losses | self.roi_heads.losses(maps, sizes, proposals, objects)

    def look(self, images: Sequence[Tensor] | Images) -> list[Picture]:
        """Compute maps and the RPN's answer, for pictures of one size together."""
        same_size: dict[Pair, list[int]] = {}
        for number, image in enumerate(images):
            same_size.setdefault((image.shape[1], image.shape[2]), []).append(number)
        pictures: dict[int, Picture] = {}
        for size, numbers in same_size.items():
            maps = self.backbone.pyramid(torch.stack([images[number] for number in numbers]))
            pictures |= zip(numbers, self.look_at(maps, size), strict=True)
        return [pictures[number] for number in range(len(images))]

    def merged(self, maps: Sequence[Map]) -> list[Map]:
        """The feature pyramid's maps, from those of the backbone: one more, at half the size of the last."""
        return list(self.fpn({str(level): x for level, x in enumerate(self.norms(maps))}).values())

    def look_at(self, maps: Sequence[Map], size: Pair) -> list[Picture]:
        """The same of the pyramid's maps of pictures of one size (height, width)."""
        pyramid = self.merged(maps)
        # RoIAlign computes in fp32; made here, it is made once for all heads.
        return [
            Picture(size, levels, [fp32(x[at : at + 1]).contiguous() for x in pyramid[: len(STRIDES)]])
            for at, levels in enumerate(self.rpn(pyramid))
        ]

    @property
    def used(self) -> HeadConfig:
        """The settings, as `limit` has left them."""
        return self.roi_heads.config

    def limit(self, proposals: int | None, detections: int | None) -> None:
        """Look into so many boxes of a picture from now on, and tell so many objects at most; None: as the head's
        settings say. Training stays as it is."""
        usual = self.head_config
        changed = replace(usual, proposals=proposals or usual.proposals, detections=detections or usual.detections)
        self.rpn.config = self.roi_heads.config = changed

    def fold(self) -> Self:
        """A frozen copy in eval mode that computes the same, to 1e-4; see `fold_heads`."""
        return fold_heads(self)


class Counted(nn.Module):
    """What a detector computes where so many boxes reach each box head and mask head, whatever the picture: of shapes
    alone, for counting.

    model: the detector. boxes, masks: how many.
    """

    def __init__(self, model: Detector, boxes: int, masks: int) -> None:
        super().__init__()
        self.model, self.boxes, self.masks = model, boxes, masks

    def forward(self, images: Images) -> None:
        self.model.look(images)
        channels = self.model.head_config.channels
        for box_head in self.model.roi_heads.box_heads:
            box_head(images.new_empty(self.boxes, channels, BOX_CELLS, BOX_CELLS))
        for mask_head in self.model.roi_heads.mask_heads:
            mask_head(images.new_empty(self.masks, channels, MASK_CELLS, MASK_CELLS))
