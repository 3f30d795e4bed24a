"""What heads on a pyramid are made of, whatever their task: a norm for each map, convolutions with norms, sizes."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Protocol, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gcvit.errors import UserError
from gcvit.model import GCViT
from gcvit.model.config import Pair
from gcvit.model.gcvit import Images
from gcvit.model.layers import as_nchw, as_nhwc
from gcvit.tasks.config import HeadNorm

Map = Float[Tensor, "batch channels height width"]
GROUP = 16  # channels of a group norm's group, at least: 32 groups of 512 (Wu and He, 2018)


class MapNorms(nn.ModuleList):
    """A LayerNorm for each map of a pyramid, over its channels; channels: of the maps, the finest first."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__(nn.LayerNorm(width) for width in channels)

    def forward(self, maps: Sequence[Map]) -> list[Map]:
        return [as_nchw(norm(as_nhwc(x))) for norm, x in zip(self, maps, strict=True)]


class ConvNormReLU(nn.Module):
    """A convolution that keeps the map's size, without bias, its norm and ReLU."""

    def __init__(self, channels: int, out_channels: int, kernel: int, norm: HeadNorm) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, kernel, padding=kernel // 2, bias=False)
        self.norm = norm_layer(norm, out_channels)

    def forward(self, x: Map) -> Map:
        return F.relu(self.norm(self.conv(x)))

    def fuse(self) -> None:
        """Move a batch norm's statistics into the convolution, for inference; a group norm stays."""
        if isinstance(self.norm, nn.BatchNorm2d | nn.SyncBatchNorm):
            self.conv = fuse_conv_bn_eval(self.conv, self.norm)
            self.norm = nn.Identity()


Model = TypeVar("Model", bound=nn.Module)


class Backbone(Protocol):
    """What heads stand on: a GC ViT without head, or another in its place. channels: of its maps, the finest first."""

    @property
    def channels(self) -> Sequence[int]: ...

    def pyramid(self, images: Images) -> list[Map]:
        """Four NCHW maps, strides 4, 8, 16 and 32, of images of any height and width of at least 32 px."""


def check_backbone(backbone: Backbone) -> None:
    """Raises UserError for a classifier, whose last map has no norm to come."""
    if isinstance(backbone, GCViT) and backbone.config.head:
        raise UserError("heads stand on a backbone; build it with create_model(…, head=False)")


def fold_heads(model: Model, memory_format: torch.memory_format = torch.preserve_format) -> Model:
    """A frozen copy, in eval mode, of a model with heads on a pyramid: batch norms are moved into their convolutions,
    and a GC ViT that it stands on is folded. Equal to 1e-4. memory_format: of all but that.

    Raises UserError for a copy that is already folded.
    """
    backbone = getattr(model, "backbone", None)
    apart = {id(backbone): nn.Identity()} if isinstance(backbone, GCViT) else {}  # which makes its own copy
    folded = deepcopy(model, apart).eval()
    for module in folded.modules():
        if isinstance(module, ConvNormReLU):
            module.fuse()
    folded.requires_grad_(False).to(memory_format=memory_format)
    if isinstance(backbone, GCViT):
        folded.backbone = backbone.fold()
    return folded


def norm_layer(norm: HeadNorm, channels: int) -> nn.Module:
    """batch: over the batch and the map. group: over the map of each image alone, in as many groups of equally many
    channels as leave each at least 16: the map pooled to one cell gives a group no more than a number a channel."""
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(next(n for n in range(max(channels // GROUP, 1), 0, -1) if channels % n == 0), channels)


def filled(images: Tensor, size: Pair) -> Tensor:
    """Images (…, height, width) with zeros, the mean colour, to the right and below, up to `size`."""
    return F.pad(images, (0, size[1] - images.shape[-1], 0, size[0] - images.shape[-2]))


def resize(x: Map, like: Map) -> Map:
    """Bilinearly, to the height and width of another map."""
    size: Pair = (like.shape[2], like.shape[3])
    if x.shape[2:] == size:
        return x
    # Mixed precision would leave the result, and what it is joined to, in fp32.
    return F.interpolate(x, size, mode="bilinear", align_corners=False).to(x.dtype)
