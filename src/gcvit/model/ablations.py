"""What stands in the place of the paper's parts in its ablations: Tables 4, 5 and S.2, and Swin, where they start.

The model takes its parts from the tables at the end; the first of each is the paper's.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gcvit.model.attention import (
    AttentionRecord,
    GlobalAttention,
    Heads,
    LocalAttention,
    Query,
    Tokens,
    WindowAttention,
    in_every_window,
)
from gcvit.model.config import DownsamplerKind, GCViTConfig, Kind, Pair, StemKind
from gcvit.model.global_query import GlobalQuery
from gcvit.model.layers import Downsample, Stem, as_nchw, as_nhwc, check_images
from gcvit.model.windows import Layout, cut, merge

NHWC = Float[Tensor, "batch _ _ _"]
NCHW = Float[Tensor, "batch _ _ _"]


class PatchStem(nn.Module):
    """Swin's: patches of 4×4 pixels that do not overlap, and a norm. Images are padded to whole patches."""

    def __init__(self, in_chans: int, channels: int, squeeze_excite: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, channels, 4, stride=4)
        self.norm = nn.LayerNorm(channels)

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> NHWC:
        check_images(images.shape, self.conv.in_channels)
        images = whole_patches(images).contiguous(memory_format=torch.channels_last)
        return self.norm(as_nhwc(self.conv(images)))


def whole_patches(images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels rows columns"]:
    """Zeros on the right and at the bottom, up to sides of a multiple of 4."""
    return F.pad(images, (0, -images.shape[3] % 4, 0, -images.shape[2] % 4))


class ConvPool(nn.Module):
    """Table 5's pair of convolution and max-pooling: Figure 3 without its MBConv, and with pooling, 3×3 of stride 2 as
    in the query generator, in place of the convolution's stride."""

    def __init__(self, channels: int, out_channels: int, squeeze_excite: bool = True) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.conv = nn.Conv2d(channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.LayerNorm(out_channels)

    def forward(self, x: NHWC) -> NHWC:
        return self.norm2(as_nhwc(self.conv_and_pool(as_nchw(self.norm1(x)))))

    def conv_and_pool(self, x: NCHW) -> NCHW:
        return _pool(self.conv(x))


class PoolConv(ConvPool):
    """The same, pooled first: a quarter of the convolution's arithmetic."""

    def conv_and_pool(self, x: NCHW) -> NCHW:
        return self.conv(_pool(x))


def _pool(x: NCHW) -> NCHW:
    return F.max_pool2d(x, 3, stride=2, padding=1)


class PatchMerging(nn.Module):
    """Swin's: the four tokens of each 2×2 side by side, column by column, a norm and a linear layer. Maps are padded
    to whole 2×2."""

    def __init__(self, channels: int, out_channels: int, squeeze_excite: bool = True) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, out_channels, bias=False)

    def forward(self, x: NHWC) -> NHWC:
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        x = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).permute(0, 1, 3, 4, 2, 5).flatten(3)
        return self.reduction(self.norm(x))


class ShiftedAttention(WindowAttention):
    """Swin's: the windows lie half a window further down and to the right, wherever there is more than one. What is
    left over at the far ends shares windows, and is kept apart by a mask."""

    JOINT = "qkv"

    def forward(
        self, tokens: Tokens, query: Query | None, layout: Layout, record: AttentionRecord | None = None
    ) -> Tokens:
        """As its parent; what `record` gets has the shifted windows, those that start on the map first."""
        assert layout.grid is not None
        shift = tuple(
            side // 2 if windows > 1 else 0 for side, windows in zip(self.bias.window, layout.grid, strict=True)
        )
        if shift == (0, 0):
            return super().forward(tokens, query, layout, record)
        hidden = self.hidden(layout, (shift[0], shift[1]), tokens.device)
        if layout.zeroed is not None:
            tokens = tokens.masked_fill(layout.zeroed[..., None], 0)
        moved = self.rolled(tokens, layout.grid, (-shift[0], -shift[1]))
        moved = super().forward(moved, query, replace(layout, padding=hidden, zeroed=None), record)
        return self.rolled(moved, layout.grid, (shift[0], shift[1]))

    def rolled(self, tokens: Tokens, grid: Pair, by: Pair) -> Tokens:
        """The windows of the map that is rolled by so many (rows, columns)."""
        window = self.bias.window
        x = merge(tokens, window, (grid[0] * window[0], grid[1] * window[1]))
        return cut(x.roll(by, (1, 2)), window)

    def hidden(self, layout: Layout, shift: Pair, device: torch.device) -> Bool[Tensor, "windows tokens tokens"]:
        """True where a token (row) of a shifted window may not attend to another: one from the other end of the map, or
        padding. Padding itself attends to itself, since it must attend to something."""
        assert layout.grid is not None
        ends = []
        for side, windows, moved in zip(self.bias.window, layout.grid, shift, strict=True):
            ends.append(torch.arange(side * windows, device=device) >= side * windows - moved)
        far = cut((2 * ends[0][:, None] + 1 * ends[1][None, :])[None, ..., None], self.bias.window)[0, ..., 0]
        hidden = far[:, :, None] != far[:, None, :]
        if layout.padding is not None:
            padding = self.rolled(layout.padding[None, ..., None], layout.grid, (-shift[0], -shift[1]))[0, ..., 0]
            hidden = hidden | padding[:, None, :]
        return hidden & ~torch.eye(hidden.shape[1], dtype=torch.bool, device=device)


class FromGenerator(WindowAttention):
    """Table S.2: the generator's tokens are no queries but values, or keys and values; a window has its own queries.

    GIVEN: what they are, one letter a part. PROJECTED: whether a linear layer makes it of them.
    """

    GIVEN: str
    PROJECTED = False

    def __init__(self, channels: int, *settings: Any) -> None:
        super().__init__(channels, *settings)
        self.given: nn.Linear | None = nn.Linear(channels, len(self.GIVEN) * channels) if self.PROJECTED else None

    @property
    def linears(self) -> list[tuple[nn.Linear, str]]:
        return [*super().linears, *([] if self.given is None else [(self.given, self.GIVEN)])]

    def forward(
        self, tokens: Tokens, query: Query | None, layout: Layout, record: AttentionRecord | None = None
    ) -> Tokens:
        if "k" in self.GIVEN:
            layout = replace(layout, padding=None)  # none of the keys is any
        return super().forward(tokens, query, layout, record)

    def shared(self, query: Query | None, windows: int) -> dict[str, Heads]:
        assert query is not None
        return {part: in_every_window(x, windows) for part, x in zip(self.GIVEN, self.made(query), strict=True)}

    def made(self, query: Query) -> Sequence[Query]:
        """The parts that `GIVEN` names."""
        if self.given is None:
            return [query] * len(self.GIVEN)
        parts = self.given(query.transpose(1, 2).flatten(2)).unflatten(-1, (len(self.GIVEN), self.heads, -1))
        return parts.permute(2, 0, 3, 1, 4).unbind()


class GlobalV(FromGenerator):
    """Keys from the window's tokens; values are the generator's."""

    JOINT, GIVEN = "qk", "v"


class ProjectedGlobalV(FromGenerator):
    """The same, through a linear layer."""

    JOINT, GIVEN, PROJECTED = "qk", "v", True


class GlobalKV(FromGenerator):
    """Keys and values are linear layers of the generator's tokens."""

    JOINT, GIVEN, PROJECTED = "q", "kv", True


class SameKV(FromGenerator):
    """The tokens themselves are both."""

    JOINT, GIVEN = "q", "kv"


class TwoGeneratorsKV(FromGenerator):
    """Keys and values are the tokens of a generator each (`KeysAndValues`)."""

    JOINT, GIVEN = "q", "kv"

    def made(self, query: Query) -> Sequence[Query]:
        return query.chunk(2, -1)


class KeysAndValues(nn.Module):
    """Two generators: (batch, heads, tokens, 2 head_dim), keys and values side by side."""

    def __init__(self, config: GCViTConfig, stage: int) -> None:
        super().__init__()
        self.keys, self.values = GlobalQuery(config, stage), GlobalQuery(config, stage)

    def forward(self, x: NHWC) -> Query:
        return torch.cat([self.keys(x), self.values(x)], -1)


def query_generator(config: GCViTConfig, stage: int) -> nn.Module | None:
    """Of one stage, if any of its blocks attends with what it makes."""
    if not config.generators:
        return None
    return (GlobalQuery if config.generators == 1 else KeysAndValues)(config, stage)


ATTENTION: dict[Kind, type[WindowAttention]] = {
    "local": LocalAttention,
    "global": GlobalAttention,
    "shifted": ShiftedAttention,
    "global_v": GlobalV,
    "global_v_projected": ProjectedGlobalV,
    "global_kv": GlobalKV,
    "global_kv_two_generators": TwoGeneratorsKV,
    "global_kv_same": SameKV,
}
STEMS: dict[StemKind, type[Stem | PatchStem]] = {"conv": Stem, "patch": PatchStem}
DOWNSAMPLERS: dict[DownsamplerKind, type[nn.Module]] = {
    "mbconv": Downsample,
    "conv_pool": ConvPool,
    "pool_conv": PoolConv,
    "patch_merging": PatchMerging,
}
