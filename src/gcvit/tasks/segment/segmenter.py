"""A segmentation model: a pyramid, a LayerNorm for each of its maps, and UPerNet on top."""

from collections.abc import Sequence
from copy import deepcopy
from typing import NamedTuple, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gcvit.errors import UserError
from gcvit.model import GCViT
from gcvit.model.gcvit import Images, Map
from gcvit.tasks.pyramid import MapNorms, fold_heads
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

    def forward(self, images: Images) -> SegmenterOutput:
        raise AssertionError("a subclass says what is computed")

    def fold(self) -> Self:
        """A frozen copy in eval mode, for inference."""
        return deepcopy(self).eval().requires_grad_(False)


class PyramidSegmenter(SegmentationModel):
    """The heads on four maps, which a subclass computes.

    channels: of the maps, the finest first. classes: number of logits. head: what the heads are made of.
    """

    def __init__(self, channels: Sequence[int], classes: int, head: UPerNetConfig) -> None:
        super().__init__()
        self.classes, self.head_config = classes, head
        self.norms = MapNorms(channels)
        self.decode_head = UPerNet(channels, classes, head)
        self.auxiliary_head = FCNHead(channels[AUXILIARY_MAP], classes, head) if head.aux_weight else None

    def pyramid(self, images: Images) -> list[Map]:
        """Four NCHW maps, strides 4, 8, 16 and 32."""
        raise AssertionError("a subclass says what the maps are")

    def forward(self, images: Images) -> SegmenterOutput:
        """Images of any height and width of at least 32 px."""
        maps = self.norms(self.pyramid(images))
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


class Segmenter(PyramidSegmenter):
    """GC ViT with UPerNet (section 4.3).

    backbone: a GC ViT without head. classes: number of logits. head: what the heads are made of.
    Raises UserError for a classifier in the place of the backbone.
    """

    def __init__(self, backbone: GCViT, classes: int, head: UPerNetConfig) -> None:
        if backbone.config.head:
            raise UserError("a segmenter stands on a backbone; build it with create_model(…, head=False)")
        super().__init__(backbone.config.channels, classes, head)
        self.backbone = backbone

    def pyramid(self, images: Images) -> list[Map]:
        """The backbone's maps. Raises UserError for images below 32 px or with other channels."""
        return self.backbone.pyramid(images)
