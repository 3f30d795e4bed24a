"""The convolutional parts (Figure 3, Eq. 1) and the small pieces of a block.

Everything takes and returns NHWC tensors; a convolution sees the same memory as channels-last NCHW.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gcvit.errors import UserError
from gcvit.model.config import check_sides


def as_nchw(x: Float[Tensor, "batch height width channels"]) -> Float[Tensor, "batch channels height width"]:
    """A view of NHWC memory that convolutions accept."""
    return x.permute(0, 3, 1, 2)


def as_nhwc(x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch height width channels"]:
    """The way back."""
    return x.permute(0, 2, 3, 1)


class SqueezeExcite(nn.Module):
    """A gate in 0..1 for each channel, computed from all channels' means (Hu et al., 2018); reduces by 4."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        reduced = max(channels // 4, 1)
        self.reduce = nn.Linear(channels, reduced, bias=False)
        self.expand = nn.Linear(reduced, channels, bias=False)

    def forward(self, x: Float[Tensor, "batch height width channels"]) -> Float[Tensor, "batch channels"]:
        return self.expand(F.gelu(self.reduce(x.mean((1, 2))))).sigmoid()


class FusedMBConv(nn.Module):
    """The modified Fused-MBConv of Eq. 1: depthwise 3×3, GELU, squeeze-and-excite, 1×1, residual; no norm."""

    def __init__(self, channels: int, squeeze_excite: bool = True) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.squeeze_excite = SqueezeExcite(channels) if squeeze_excite else None
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Float[Tensor, "batch height width channels"]) -> Float[Tensor, "batch height width channels"]:
        y, weight = F.gelu(as_nhwc(self.depthwise(as_nchw(x)))), self.pointwise.weight.flatten(1)
        if self.squeeze_excite is None:
            return x + F.linear(y, weight)
        gate = self.squeeze_excite(y)
        if y.shape[1] * y.shape[2] <= y.shape[3]:
            return x + F.linear(y * gate[:, None, None, :], weight)
        # A map that is larger than the 1×1 convolution's matrix is better left alone: the gate scales what the matrix
        # takes from each channel, image by image.
        return x + torch.bmm(y.flatten(1, 2), gate[:, :, None] * weight.t()).view_as(x)


class Downsample(nn.Module):
    """Figure 3: norm, fused MBConv, 3×3 convolution of stride 2, norm.

    Section 2 speaks of max-pooling here; section 5.2, Table 5 and the published weights have the strided convolution.
    """

    def __init__(self, channels: int, out_channels: int, squeeze_excite: bool = True) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.mbconv = FusedMBConv(channels, squeeze_excite)
        self.conv = nn.Conv2d(channels, out_channels, 3, stride=2, padding=1, bias=False)
        self.norm2 = nn.LayerNorm(out_channels)

    def forward(self, x: Float[Tensor, "batch height width channels"]) -> Float[Tensor, "batch rows columns outs"]:
        x = self.mbconv(self.norm1(x))
        return self.norm2(as_nhwc(self.conv(as_nchw(x))))


class Stem(nn.Module):
    """Overlapping patches (section 2): a 3×3 convolution of stride 2, then a downsampler that keeps the width."""

    def __init__(self, in_chans: int, channels: int, squeeze_excite: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, channels, 3, stride=2, padding=1)
        self.downsample = Downsample(channels, channels, squeeze_excite)

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch rows columns outs"]:
        check_images(images.shape, self.conv.in_channels)
        images = images.contiguous(memory_format=torch.channels_last)
        return self.downsample(as_nhwc(self.conv(images)))


def check_images(shape: torch.Size, channels: int) -> None:
    """Raise UserError for what is no batch of images of so many channels that the model can see."""
    if len(shape) != 4:
        single = "image[None]" if shape[-1:] != (channels,) else "image.permute(2, 0, 1)[None], channels first"
        raise UserError(
            f"the model takes a batch of images, (batch, {channels}, height, width), not a tensor of shape "
            f"{tuple(shape)}; a single image gets its batch axis with {single}"
        )
    if shape[1] != channels:
        last = "; channels last? images.permute(0, 3, 1, 2) puts them first" if shape[3] == channels else ""
        raise UserError(
            f"the model takes images of {channels} channels, not {shape[1]}, in a shape of {tuple(shape)}{last}"
        )
    check_sides(shape[2], shape[3])


class MLP(nn.Module):
    """Linear, GELU, linear, on the last axis."""

    def __init__(self, channels: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "*axes channels"]) -> Float[Tensor, "*axes channels"]:
        return self.dropout(self.fc2(self.dropout(F.gelu(self.fc1(x)))))


class LayerScale(nn.Module):
    """A learned scale per channel (CaiT), in the models from S upwards."""

    def __init__(self, channels: int, value: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels,), value))

    def forward(self, x: Float[Tensor, "*axes channels"]) -> Float[Tensor, "*axes channels"]:
        return x * self.gamma


class DropPath(nn.Module):
    """Stochastic depth: in training, a branch is left out for whole images with probability `rate`."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    @property
    def rate(self) -> float:
        return self._rate

    @rate.setter
    def rate(self, rate: float) -> None:
        self._rate = rate
        # Of a number torch's compiler makes a constant, and then of every block a program of its own.
        self._keep = torch.tensor(1.0 - rate, device="cpu") if rate else None

    def forward(self, x: Float[Tensor, "batch *axes"]) -> Float[Tensor, "batch *axes"]:  # noqa: F821
        if not self.training or self._keep is None:
            return x
        mask = torch.rand((x.shape[0],) + (1,) * (x.ndim - 1), device=x.device) < self._keep
        return x * (mask.to(x.dtype) / self._keep)

    def extra_repr(self) -> str:
        return f"rate={self.rate:.3f}"
