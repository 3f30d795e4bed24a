"""UPerNet (Xiao et al., 2018, "Unified Perceptual Parsing for Scene Understanding", Figure 4) and its auxiliary head.

Pyramid pooling on the coarsest map, a feature pyramid down to the finest, and their fusion.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gcvit.tasks.config import HeadNorm
from gcvit.tasks.pyramid import ConvNormReLU, Map, resize
from gcvit.tasks.segment.settings import UPerNetConfig


class PyramidPooling(nn.Module):
    """The map beside its averages over 1, 4, 9 and 36 cells of the picture (PSPNet; Zhao et al., 2017), merged."""

    def __init__(self, channels: int, out_channels: int, bins: Sequence[int], norm: HeadNorm) -> None:
        super().__init__()
        self.bins = tuple(bins)
        self.branches = nn.ModuleList(ConvNormReLU(channels, out_channels, 1, norm) for _ in bins)
        self.merge = ConvNormReLU(channels + len(self.bins) * out_channels, out_channels, 3, norm)

    def forward(self, x: Map) -> Map:
        pooled = [
            resize(branch(F.adaptive_avg_pool2d(x, size)), x)
            for size, branch in zip(self.bins, self.branches, strict=True)
        ]
        return self.merge(torch.cat([x, *pooled], 1))


class UPerNet(nn.Module):
    """The decoder: maps of falling resolution to logits at the resolution of the first.

    channels: of each map, the finest first. classes: number of logits.
    Convolutions start as He et al. (2015) have it for ReLU, the classifier from a normal distribution of 0.01.
    """

    def __init__(self, channels: Sequence[int], classes: int, config: UPerNetConfig) -> None:
        super().__init__()
        width, norm = config.channels, config.norm
        self.pooling = PyramidPooling(channels[-1], width, config.bins, norm)
        self.laterals = nn.ModuleList(ConvNormReLU(incoming, width, 1, norm) for incoming in channels[:-1])
        self.outputs = nn.ModuleList(ConvNormReLU(width, width, 3, norm) for _ in channels[:-1])
        self.fusion = ConvNormReLU(len(channels) * width, width, 3, norm)
        self.dropout = nn.Dropout2d(config.dropout)
        self.classifier = nn.Conv2d(width, classes, 1)
        initialise(self)

    def forward(self, maps: Sequence[Map]) -> Float[Tensor, "batch classes height width"]:
        """Logits of the size of the first map: for a GC ViT's pyramid (batch, classes, ceil(H / 4), ceil(W / 4))."""
        top_down = [self.pooling(maps[-1])]
        for lateral, finer in zip(reversed(self.laterals), reversed(maps[:-1]), strict=True):
            finer = lateral(finer)
            top_down.append(finer + resize(top_down[-1], finer))
        coarsest, *finer_maps = top_down
        levels = [output(x) for output, x in zip(self.outputs, reversed(finer_maps), strict=True)] + [coarsest]
        fused = self.fusion(torch.cat([resize(level, levels[0]) for level in levels], 1))
        return self.classifier(self.dropout(fused))


class FCNHead(nn.Module):
    """A 3×3 convolution and a classifier, on one map alone: the auxiliary head of training."""

    def __init__(self, channels: int, classes: int, config: UPerNetConfig) -> None:
        super().__init__()
        self.conv = ConvNormReLU(channels, config.aux_channels, 3, config.norm)
        self.dropout = nn.Dropout2d(config.dropout)
        self.classifier = nn.Conv2d(config.aux_channels, classes, 1)
        initialise(self)

    def forward(self, x: Map) -> Float[Tensor, "batch classes height width"]:
        return self.classifier(self.dropout(self.conv(x)))


def initialise(head: nn.Module) -> None:
    """Convolutions for ReLU, the classifier so small that all classes are about equally likely at first."""
    for module in head.modules():
        if isinstance(module, ConvNormReLU):
            nn.init.kaiming_normal_(module.conv.weight, mode="fan_out", nonlinearity="relu")
    classifier = head.classifier
    assert isinstance(classifier, nn.Conv2d)
    assert classifier.bias is not None
    nn.init.normal_(classifier.weight, std=0.01)
    nn.init.zeros_(classifier.bias)
