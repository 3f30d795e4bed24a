"""Local and global window attention (section 2.2, Eq. 3-6, Figure 6).

Tokens are (batch, windows, tokens, channels), the global query is (batch, heads, tokens, head_dim). Where the fused
kernel computes attention, tokens stay the map that they come from: see `Layout`.
"""

from math import isqrt

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gcvit.kernels import cpu_attention
from gcvit.kernels.window_attention import window_attention
from gcvit.model.config import Pair
from gcvit.model.windows import Layout

Tokens = Float[Tensor, "batch windows tokens channels"]
TokensOrMap = Float[Tensor, "batch _ _ channels"]  # a map: (batch, height, width, channels)
Query = Float[Tensor, "batch heads tokens head_dim"]
Heads = Float[Tensor, "batch windows heads tokens head_dim"]
Padding = Bool[Tensor, "windows tokens"] | None
Projected = Float[Tensor, "batch _ _ parts heads head_dim"]


class RelativePositionBias(nn.Module):
    """The learned b of Eq. 6: a number for every head and every offset between two tokens of a window."""

    def __init__(self, window: Pair, heads: int) -> None:
        super().__init__()
        self.window = window
        self.table = nn.Parameter(torch.zeros((2 * window[0] - 1) * (2 * window[1] - 1), heads))

    def forward(self) -> Float[Tensor, "heads tokens tokens"]:
        """Row i, column j: the entry for the offset of token i from token j.

        Sliding a window over the flipped table lists, for each query position, the biases of all keys: strided
        views and one copy, cheaper than an index buffer and a gather.
        """
        h, w = self.window
        table = self.table.view(2 * h - 1, 2 * w - 1, -1).flip(0, 1)
        windows = table.unfold(0, h, 1).unfold(1, w, 1).flip(0, 1)  # query rows, columns, heads, key rows, columns
        return windows.permute(2, 0, 1, 3, 4).reshape(-1, h * w, h * w)

    def resize(self, window: Pair) -> None:
        """Change the window; the learned table is interpolated, into a new parameter."""
        if window == self.window:
            return
        self.table = nn.Parameter(
            resize_table(self.table.detach(), self.window, window), requires_grad=self.table.requires_grad
        )
        self.window = window


class FixedBias(nn.Module):
    """A bias that has been gathered from its table once and for all, for a folded copy."""

    def __init__(self, bias: RelativePositionBias) -> None:
        super().__init__()
        self.window = bias.window
        self.value: Tensor
        self.register_buffer("value", bias())
        # The fused kernel reads the table itself, head by head: a head's entries lie side by side.
        self.table: Tensor
        self.register_buffer("table", bias.table.detach().t().contiguous().t())

    def forward(self) -> Float[Tensor, "heads tokens tokens"]:
        return self.value


def resize_table(table: Float[Tensor, "offsets heads"], old: Pair, new: Pair) -> Float[Tensor, "new_offsets heads"]:
    """A bias table for windows of another size, both (height, width): bicubic over the offsets, as published.
    Raises ValueError when the table is not one of windows of `old`."""
    rows, columns = 2 * old[0] - 1, 2 * old[1] - 1
    if len(table) != rows * columns:
        raise ValueError(f"a bias table of {len(table)} rows is not one for windows of {old[0]}×{old[1]}")
    if old == new:
        return table
    image = table.float().t().reshape(1, -1, rows, columns)
    image = F.interpolate(image, (2 * new[0] - 1, 2 * new[1] - 1), mode="bicubic", align_corners=False)
    return image.flatten(2)[0].t().to(table.dtype).contiguous()


def table_window(rows: int, *stated: Pair) -> Pair | None:
    """The window that a bias table of so many rows belongs to: the first of `stated` that fits it, else a square one;
    None when none does."""
    for h, w in stated:
        if rows == (2 * h - 1) * (2 * w - 1):
            return h, w
    side = isqrt(rows)
    return ((side + 1) // 2, (side + 1) // 2) if side * side == rows and side % 2 else None


class WindowAttention(nn.Module):
    """Softmax(q kᵀ / √d + b) v within each window, then a projection; what the queries are is the subclass's matter."""

    def __init__(self, channels: int, heads: int, window: Pair, attention_dropout: float, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (channels // heads) ** -0.5
        self.attention_dropout = attention_dropout
        self.bias: RelativePositionBias | FixedBias = RelativePositionBias(window, heads)
        self.proj = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)

    def project(self, tokens: TokensOrMap) -> Projected:
        """What the subclass's linear layer makes of each token: its query, key and value, or key and value."""
        raise AssertionError("a subclass says what it projects")

    def queries_keys_values(self, tokens: Tokens, query: Query) -> tuple[Heads, Heads, Heads]:
        raise AssertionError("a subclass says what the queries are")

    def forward(self, tokens: TokensOrMap, query: Query, layout: Layout) -> TokensOrMap:
        x = self.in_windows(tokens, query, layout.padding) if layout.cut else self.on_map(tokens, query)
        return self.dropout(self.proj(x))

    def in_windows(self, tokens: Tokens, query: Query, padding: Padding) -> Tokens:
        """`padding` is True for tokens outside the picture, which nothing may attend to."""
        q, k, v = self.queries_keys_values(tokens, query)
        bias, dropout = self.bias(), self.attention_dropout if self.training else 0.0
        # The kernels take four axes. The bias is the same in every window, so windows join the batch; with padding
        # it differs from window to window but not from image to image, so they join the heads.
        merged = 0 if padding is None else 1
        if padding is not None:
            bias = self.mask(bias, padding).flatten(0, 1)
        axes = q.shape[merged : merged + 2]
        q, k, v = (x.flatten(merged, merged + 1) for x in (q, k, v))
        if not dropout and cpu_attention.applies(q, k, v, bias):
            x = cpu_attention.attention(q, k, v, bias, self.scale)
        else:
            x = F.scaled_dot_product_attention(q, k, v, bias[None], dropout, scale=self.scale)
        return x.unflatten(merged, axes).transpose(2, 3).flatten(3)

    def on_map(
        self, x: Float[Tensor, "batch height width channels"], query: Query
    ) -> Float[Tensor, "batch height width channels"]:
        """The same without cutting the map, in inference on a GPU."""
        projected = self.project(x)
        # Under autocast the types of query and keys may differ.
        shared = None if projected.shape[3] == 3 else query.to(projected.dtype)
        return window_attention(projected, shared, self.bias.table, self.bias.window, self.scale)

    def weights(
        self, tokens: Tokens, query: Query, padding: Padding
    ) -> Float[Tensor, "batch windows heads tokens tokens"]:
        """What each token of a window attends to: rows sum to 1, columns of padding are 0."""
        q, k, _ = self.queries_keys_values(tokens, query)
        bias = self.bias()
        bias = bias if padding is None else self.mask(bias, padding)
        return (q @ k.transpose(-1, -2) * self.scale + bias).softmax(-1)

    @staticmethod
    def mask(
        bias: Float[Tensor, "heads tokens tokens"], padding: Bool[Tensor, "windows tokens"]
    ) -> Float[Tensor, "windows heads tokens tokens"]:
        """The bias of each window, −∞ where the key is padding; every window has at least one key that is not."""
        return bias.masked_fill(padding[:, None, None, :], float("-inf"))


class LocalAttention(WindowAttention):
    """Queries, keys and values from the window's own tokens."""

    def __init__(self, channels: int, heads: int, window: Pair, attention_dropout: float, dropout: float) -> None:
        super().__init__(channels, heads, window, attention_dropout, dropout)
        self.qkv = nn.Linear(channels, 3 * channels)

    def project(self, tokens: TokensOrMap) -> Projected:
        return self.qkv(tokens).unflatten(-1, (3, self.heads, -1))

    def queries_keys_values(self, tokens: Tokens, query: Query) -> tuple[Heads, Heads, Heads]:
        q, k, v = self.project(tokens).permute(3, 0, 1, 4, 2, 5)
        return q, k, v


class GlobalAttention(WindowAttention):
    """Keys and values from the window's tokens; the image's one global query, shared by all its windows (Eq. 3)."""

    def __init__(self, channels: int, heads: int, window: Pair, attention_dropout: float, dropout: float) -> None:
        super().__init__(channels, heads, window, attention_dropout, dropout)
        self.kv = nn.Linear(channels, 2 * channels)

    def project(self, tokens: TokensOrMap) -> Projected:
        return self.kv(tokens).unflatten(-1, (2, self.heads, -1))

    def queries_keys_values(self, tokens: Tokens, query: Query) -> tuple[Heads, Heads, Heads]:
        k, v = self.project(tokens).permute(3, 0, 1, 4, 2, 5)
        # Expanded over windows inside each image, never tiled: Algorithm 1's repeat mixes the images of a batch.
        return query[:, None].expand(-1, tokens.shape[1], -1, -1, -1), k, v
