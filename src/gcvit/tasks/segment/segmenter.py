"""A segmentation model: a pyramid, a LayerNorm for each of its maps, and UPerNet on top."""

from collections.abc import Sequence
from copy import deepcopy
from typing import NamedTuple, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gcvit.model.gcvit import Images, Map
from gcvit.tasks.pyramid import Backbone, MapNorms, check_backbone, fold_heads
from gcvit.tasks.segment.settings import UPerNetConfig
from gcvit.tasks.segment.upernet import FCNHead, UPerNet

AUXILIARY_MAP = 2  # the third of four


class SegmenterOutput(NamedTuple):
    """Logits per class at a quarter of the picture's height and width, rounded up.

    auxiliary: those of the auxiliary head, at a sixteenth; None where there is none, and outside training.
    """

    logits: Float[Tensor, "batch classes rows columns"]
    auxiliary: Float[Tensor, "batch classes coarse_rows coarse_columns"] | None


class SegmentationModel(nn.Module):
    """What the task trains and evaluates: images of any height and width of at least 32 px to logits."""

    def fold(self) -> Self:
        """A frozen copy in eval mode, for inference."""
        return deepcopy(self).eval().requires_grad_(False)


class Segmenter(SegmentationModel):
    """Norms and UPerNet on a backbone's maps; GC ViT's in the paper (section 4.3).

    classes: number of logits. head: what the heads are made of.
    Raises UserError for a classifier in the place of the backbone.
    """

    def __init__(self, backbone: Backbone, classes: int, head: UPerNetConfig) -> None:
        super().__init__()
        check_backbone(backbone)
        self.classes, self.head_config = classes, head
        self.norms = MapNorms(backbone.channels)
        self.decode_head = UPerNet(backbone.channels, classes, head)
        auxiliary = backbone.channels[AUXILIARY_MAP]
        self.auxiliary_head = FCNHead(auxiliary, classes, head) if head.aux_weight else None
        self.backbone = backbone

    def forward(self, images: Images) -> SegmenterOutput:
        """Images of any height and width of at least 32 px."""
        maps = self.norms(self.backbone.pyramid(images))
        auxiliary = None
        if self.training and self.auxiliary_head is not None:
            auxiliary = self.auxiliary_head(maps[AUXILIARY_MAP])
        return SegmenterOutput(self.decode_head(maps), auxiliary)

    def heads(self, maps: Sequence[Map]) -> Tensor:
        """The logits, of the pyramid's maps."""
        return self.decode_head(self.norms(maps))

    def fold(self) -> Self:
        """A frozen copy in eval mode that computes the same, to 1e-4; see `fold_heads`."""
        return fold_heads(self, torch.channels_last)
