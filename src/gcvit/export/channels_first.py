"""A folded model in the form in which inference runtimes recognise what they can fuse.

Their compilers work on NCHW maps, on attention whose queries, keys and values are (windows, tokens, heads, head_dim)
transposed once, and on norms of (windows, tokens, channels). Written as in `gcvit.model` – NHWC memory, one linear for
queries, keys and values, batch and windows on axes of their own – the same sums leave transposes between them.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcvit.errors import UserError
from gcvit.model.ablations import (
    ConvPool,
    FromGenerator,
    KeysAndValues,
    PatchMerging,
    PatchStem,
    PoolConv,
    whole_patches,
)
from gcvit.model.attention import WindowAttention
from gcvit.model.config import Pair
from gcvit.model.gcvit import Block, GCViT, Stage
from gcvit.model.global_query import GlobalQuery
from gcvit.model.layers import Downsample, FusedMBConv, Stem
from gcvit.model.windows import grid, padding_mask


def channels_first(model: nn.Module) -> nn.Module:
    """A copy with every folded GC ViT in it rewritten; it computes the same, to rounding.

    Raises ValueError for a GC ViT that is not folded."""
    if isinstance(model, GCViT):
        return ChannelsFirst(model)
    model = deepcopy(model)
    for name, module in list(model.named_modules()):
        if isinstance(module, GCViT):
            model.set_submodule(name, ChannelsFirst(module))
    return model


class ChannelsFirst(nn.Module):
    """`GCViT`, folded: images (batch, channels, height, width) to what its forward pass gives."""

    def __init__(self, model: GCViT) -> None:
        super().__init__()
        if not model.folded:
            raise ValueError("only a folded copy is exported: model.fold()")
        stem = model.stem
        if not isinstance(stem, Stem | PatchStem):
            raise _refusal(type(stem).__name__)
        self.conv, self.patches = stem.conv, isinstance(stem, PatchStem)
        self.downsample = NormNCHW(stem.norm) if isinstance(stem, PatchStem) else DownsampleNCHW(stem.downsample)
        self.stages: Sequence[StageNCHW] = nn.ModuleList(StageNCHW(s) for s in model.stages)  # type: ignore[assignment]
        self.norm: nn.Module | None = NormNCHW(model.norm) if model.config.head else None
        self.head = model.head if model.config.head else nn.Identity()

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        maps = self.pyramid(images)
        return maps if self.norm is None else self.classify(maps[-1])

    def pyramid(self, images: Tensor) -> list[Tensor]:
        x, maps = self.downsample(self.conv(whole_patches(images) if self.patches else images)), []
        for stage in self.stages:
            maps.append(stage(x))
            x = stage.downsample(maps[-1])
        return maps

    def classify(self, last: Tensor) -> Tensor:
        assert self.norm is not None
        return self.head(self.norm(last).mean((2, 3)))


class StageNCHW(nn.Module):
    """`Stage`, with windows as a part of the batch."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        if not stage.masked or stage.shifted:
            raise _refusal("shifted windows" if stage.shifted else "padding that is not masked")
        self.window = stage.window
        self.query = None if stage.query is None else _rewritten(stage.query)
        self.blocks = nn.ModuleList(WindowBlock(block) for block in stage.blocks)
        self.downsample = _rewritten(stage.downsample)

    def forward(self, x: Tensor) -> Tensor:
        size = (x.shape[2], x.shape[3])
        query, mask = None if self.query is None else self.query(x), padding_mask(size, self.window, x.device)
        tokens, windows = split(x, self.window)
        if query is not None:
            query = query[:, None].expand(-1, windows, -1, -1).flatten(0, 1)  # inside each image, never tiled
        if mask is not None:
            mask = mask.expand(x.shape[0], -1, -1).flatten(0, 1)
        for block in self.blocks:
            tokens = block(tokens, query, mask)
        return merge(tokens, self.window, size)


class WindowBlock(nn.Module):
    """`Block` on tokens (batch · windows, tokens, channels), with a linear each for queries, keys and values."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        attention = block.attention
        assert isinstance(attention, WindowAttention)
        if not attention.as_published:
            raise _refusal(type(attention).__name__)
        self.heads = attention.heads
        self.norm1, self.norm2 = block.norm1, block.norm2
        self.own, self.linears = attention.JOINT, nn.ModuleList(_parts(attention.joint))
        self.shared, self.given = "q", None
        if isinstance(attention, FromGenerator):
            self.shared = attention.GIVEN
            self.given = None if attention.given is None else nn.ModuleList(_parts(attention.given))
        self.bias = nn.Buffer(attention.bias())
        self.proj, self.mlp = attention.proj, block.mlp

    def forward(self, tokens: Tensor, query: Tensor | None, mask: Tensor | None) -> Tensor:
        x = self.norm1(tokens)
        parts = {part: linear(x) for part, linear in zip(self.own, self.linears, strict=True)}
        if len(parts) < 3:
            assert query is not None
            parts |= zip(self.shared, self.made(query), strict=True)
        bias = self.bias[None] if mask is None or "k" not in self.own else WindowAttention.mask(self.bias, mask)
        q, k, v = (parts[part].unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in "qkv")
        x = F.scaled_dot_product_attention(q, k, v, bias, scale=1.0).transpose(1, 2)
        tokens = tokens + self.proj(x.flatten(2))
        return tokens + self.mlp(self.norm2(tokens))

    def made(self, query: Tensor) -> Sequence[Tensor]:
        """The parts that all windows of an image share."""
        if self.given is not None:
            return [linear(query) for linear in self.given]
        two = query.shape[-1] == 2 * self.proj.in_features
        return query.chunk(2, -1) if two else [query] * len(self.shared)


class QueryNCHW(nn.Module):
    """`GlobalQuery`: (batch, tokens, channels)."""

    def __init__(self, query: GlobalQuery) -> None:
        super().__init__()
        self.window, self.poolings, self.resize = query.window, query.poolings, query.resize
        self.mbconvs = nn.ModuleList(m if isinstance(m, nn.Identity) else MBConvNCHW(m) for m in query.mbconvs)

    def forward(self, x: Tensor) -> Tensor:
        for layer, mbconv in enumerate(self.mbconvs):
            x = mbconv(x)
            if layer < self.poolings:
                x = F.max_pool2d(x, 3, stride=2, padding=1)
        if x.shape[2:] != self.window:
            x = F.interpolate(x, self.window, mode=self.resize)
        return x.flatten(2).transpose(1, 2)


class KeysAndValuesNCHW(nn.Module):
    """`KeysAndValues`: (batch, tokens, 2 channels)."""

    def __init__(self, query: KeysAndValues) -> None:
        super().__init__()
        self.keys, self.values = QueryNCHW(query.keys), QueryNCHW(query.values)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.keys(x), self.values(x)], -1)


class DownsampleNCHW(nn.Module):
    """`Downsample`."""

    def __init__(self, downsample: Downsample) -> None:
        super().__init__()
        self.norm1, self.norm2 = NormNCHW(downsample.norm1), NormNCHW(downsample.norm2)
        self.mbconv, self.conv = MBConvNCHW(downsample.mbconv), downsample.conv

    def forward(self, x: Tensor) -> Tensor:
        return self.norm2(self.conv(self.mbconv(self.norm1(x))))


class ConvPoolNCHW(nn.Module):
    """`ConvPool` and `PoolConv`."""

    def __init__(self, downsample: ConvPool) -> None:
        super().__init__()
        self.norm1, self.norm2 = NormNCHW(downsample.norm1), NormNCHW(downsample.norm2)
        self.conv_and_pool = downsample.conv_and_pool

    def forward(self, x: Tensor) -> Tensor:
        return self.norm2(self.conv_and_pool(self.norm1(x)))


class PatchMergingNCHW(nn.Module):
    """`PatchMerging`."""

    def __init__(self, downsample: PatchMerging) -> None:
        super().__init__()
        self.norm, self.weight = NormNCHW(downsample.norm), downsample.reduction.weight

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))
        x = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 5, 3, 1, 2, 4).flatten(1, 3)
        return F.conv2d(self.norm(x), self.weight[:, :, None, None])


REWRITTEN: dict[type, Callable[[Any], nn.Module]] = {
    GlobalQuery: QueryNCHW,
    KeysAndValues: KeysAndValuesNCHW,
    nn.Identity: lambda last: last,
    Downsample: DownsampleNCHW,
    ConvPool: ConvPoolNCHW,
    PoolConv: ConvPoolNCHW,
    PatchMerging: PatchMergingNCHW,
}


def _rewritten(part: nn.Module) -> nn.Module:
    if type(part) not in REWRITTEN:
        raise _refusal(type(part).__name__)
    return REWRITTEN[type(part)](part)


def _refusal(what: str) -> UserError:
    return UserError(f"a model with {what} is not written as ONNX or OpenVINO; --to torch-export or aot takes it")


class MBConvNCHW(nn.Module):
    """`FusedMBConv`."""

    def __init__(self, mbconv: nn.Module) -> None:
        super().__init__()
        assert isinstance(mbconv, FusedMBConv)
        self.depthwise, self.pointwise = mbconv.depthwise, mbconv.pointwise
        gate = mbconv.squeeze_excite
        self.reduce = None if gate is None else gate.reduce.weight
        self.expand = None if gate is None else gate.expand.weight

    def forward(self, x: Tensor) -> Tensor:
        y = F.gelu(self.depthwise(x))
        if self.reduce is None or self.expand is None:
            return x + self.pointwise(y)
        gate = F.gelu(F.conv2d(y.mean((2, 3), keepdim=True), self.reduce[:, :, None, None]))
        return x + self.pointwise(y * F.conv2d(gate, self.expand[:, :, None, None]).sigmoid())


class NormNCHW(nn.Module):
    """`LayerNorm` over the channels of a map."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        x = x - x.mean(1, keepdim=True)
        x = x * (x.square().mean(1, keepdim=True) + self.eps).rsqrt()
        return x * self.weight[:, None, None] + self.bias[:, None, None]


def split(x: Tensor, window: Pair) -> tuple[Tensor, int]:
    """Tokens (batch · windows, tokens, channels) of a map (batch, channels, height, width), and the number of windows;
    zeros where they stick out of the map."""
    (height, width), (h, w) = x.shape[2:], window
    rows, columns = grid((height, width), window)
    if (rows * h, columns * w) != (height, width):
        x = F.pad(x, (0, columns * w - width, 0, rows * h - height))
    if rows * columns == 1:
        return x.flatten(2).transpose(1, 2), 1
    x = x.unflatten(3, (columns, w)).unflatten(2, (rows, h)).permute(0, 2, 4, 3, 5, 1)
    return x.reshape(-1, h * w, x.shape[-1]), rows * columns


def merge(tokens: Tensor, window: Pair, size: Pair) -> Tensor:
    """The map (batch, channels, *size) of such tokens."""
    (rows, columns), (h, w), channels = grid(size, window), window, tokens.shape[-1]
    x = tokens.view(-1, rows, columns, h, w, channels).permute(0, 5, 1, 3, 2, 4)
    return x.reshape(-1, channels, rows * h, columns * w)[:, :, : size[0], : size[1]]


def _parts(joint: nn.Linear) -> list[nn.Linear]:
    """A linear of its own for the queries, the keys and the values that `joint` gives; zero biases are left out."""
    channels = joint.in_features
    biases = [None] * (len(joint.weight) // channels) if joint.bias is None else joint.bias.split(channels)
    parts = []
    for weight, bias in zip(joint.weight.split(channels), biases, strict=True):
        part = nn.Linear(channels, channels, bias is not None and bool(bias.any()), device="meta")
        part.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
        if part.bias is not None:
            part.bias = nn.Parameter(bias, requires_grad=False)
        parts.append(part)
    return parts
