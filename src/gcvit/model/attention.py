"""Local and global window attention (section 2.2, Eq. 3-6, Figure 6).

Tokens are (batch, windows, tokens, channels), or still the map that they come from (see `Layout`); the global query is
(batch, heads, tokens, head_dim).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from math import isqrt, prod
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gcvit.errors import UserError
from gcvit.kernels import compiled_attention, cpu_attention
from gcvit.kernels.window_attention import window_attention
from gcvit.model.config import Pair
from gcvit.model.windows import Layout, Piece, cut, merge

Map = Float[Tensor, "batch height width channels"]
Tokens = Float[Tensor, "batch windows tokens channels"]
TokensOrMap = Float[Tensor, "batch _ _ channels"]  # a map: (batch, height, width, channels)
Query = Float[Tensor, "batch heads tokens head_dim"]
Heads = Float[Tensor, "batch windows heads tokens head_dim"]
Mixed = Float[Tensor, "batch windows tokens heads head_dim"]
Padding = Bool[Tensor, "windows *queries keys"] | None
Through = bool | Literal["values"]
Projected = Float[Tensor, "batch _ _ parts heads head_dim"]


class RelativePositionBias(nn.Module):
    """The learned b of Eq. 6: a number for every head and every offset between two tokens of a window."""

    def __init__(self, window: Pair, heads: int) -> None:
        super().__init__()
        self.window = window
        self.table = nn.Parameter(torch.zeros((2 * window[0] - 1) * (2 * window[1] - 1), heads))

    def forward(self, window: Pair | None = None) -> Float[Tensor, "heads tokens tokens"]:
        """Row i, column j: the entry for the offset of token i from token j. window: a smaller one, if it is not whole.

        Sliding a window over the flipped table lists, for each query position, the biases of all keys: strided
        views and one copy, cheaper than an index buffer and a gather. The offsets of a smaller window are the table's
        middle.
        """
        (whole_h, whole_w), (h, w) = self.window, window or self.window
        table = self.table.view(2 * whole_h - 1, 2 * whole_w - 1, -1)
        table = table[whole_h - h : whole_h + h - 1, whole_w - w : whole_w + w - 1].flip(0, 1)
        windows = table.unfold(0, h, 1).unfold(1, w, 1).flip(0, 1)  # query rows, columns, heads, key rows, columns
        return windows.permute(2, 0, 1, 3, 4).reshape(-1, h * w, h * w)

    def resize(self, window: Pair) -> None:
        """Change the window; the learned table is interpolated, into a new parameter."""
        if window == self.window:
            return
        resized = resize_table(self.table.detach(), self.window, window)
        self.table, self.window = nn.Parameter(resized, requires_grad=self.table.requires_grad), window


class NoBias(nn.Module):
    """Zeros in place of the bias (`position_bias=False`)."""

    def __init__(self, window: Pair, heads: int) -> None:
        super().__init__()
        self.window, self.heads = window, heads
        # Says where zeros are made and in what precision; it holds nothing, so that nothing can be lost.
        self.like = nn.Buffer(torch.empty(0), persistent=False)

    @property
    def table(self) -> Tensor:
        h, w = self.window
        return self.like.new_zeros((2 * h - 1) * (2 * w - 1), self.heads)

    def forward(self, window: Pair | None = None) -> Float[Tensor, "heads tokens tokens"]:
        tokens = prod(window or self.window)
        return self.like.new_zeros(self.heads, tokens, tokens)

    def resize(self, window: Pair) -> None:
        """Change the window."""
        self.window = window


class FixedBias(nn.Module):
    """A bias that has been gathered from its table once and for all, for a folded copy."""

    def __init__(self, bias: RelativePositionBias | NoBias) -> None:
        super().__init__()
        self.window = bias.window
        self.value = nn.Buffer(bias())
        # The fused kernel reads the table itself, head by head: a head's entries lie side by side.
        self.table = nn.Buffer(bias.table.detach().t().contiguous().t())

    def forward(self, window: Pair | None = None) -> Float[Tensor, "heads tokens tokens"]:
        h, w = window or self.window
        value = self.value.unflatten(2, self.window).unflatten(1, self.window)[:, :h, :w, :h, :w]
        return value.flatten(3).flatten(1, 2)


Bias = RelativePositionBias | NoBias | FixedBias


def resize_table(table: Float[Tensor, "offsets heads"], old: Pair, new: Pair) -> Float[Tensor, "new_offsets heads"]:
    """A bias table for windows of another size, both (height, width): bicubic over the offsets, as published.
    Raises UserError when the table is not one of windows of `old`."""
    rows, columns = 2 * old[0] - 1, 2 * old[1] - 1
    if len(table) != rows * columns:
        raise UserError(f"a bias table of {len(table)} rows is not one for windows of {old[0]}×{old[1]}")
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


@dataclass
class AttentionRecord:
    """What a traced block notes down: its attention `weights` (batch, windows, heads, tokens, tokens), rows are queries
    and sum to 1; `logsumexp` of each row of scores, (batch, windows, heads, tokens), by which rows of different windows
    can be compared; and the `values` (batch, windows, heads, tokens, head_dim) that the weights average.

    through: the block's output is computed from these weights, so that gradients reach them; otherwise they are
    computed beside it. "values": the same, but gradients do not go on through the queries.
    """

    through: Through
    weights: Float[Tensor, "batch windows heads tokens tokens"] | None = None
    logsumexp: Float[Tensor, "batch windows heads tokens"] | None = None
    values: Heads | None = None


class WindowAttention(nn.Module):
    """Softmax(q kᵀ / √d + b) v within each window, then a projection; what the queries are is the subclass's matter."""

    JOINT: str
    """What the one linear layer makes of each token, one letter a part: q, k, v; and its name in state dicts."""

    def __init__(
        self,
        channels: int,
        heads: int,
        window: Pair,
        attention_dropout: float,
        dropout: float,
        position_bias: bool = True,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (channels // heads) ** -0.5
        self.attention_dropout = attention_dropout
        self.bias: Bias = RelativePositionBias(window, heads) if position_bias else NoBias(window, heads)
        self.proj = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)
        setattr(self, self.JOINT, nn.Linear(channels, len(self.JOINT) * channels))

    @property
    def as_published(self) -> bool:
        """Whether scores, weights and sums are those of Eq. 6, of what its linear layers make of tokens. A subclass
        that writes one of these anew is computed as it says, without short cuts: folding leaves its linear layers as
        they are, and what writes attention in another form refuses it."""
        return all(getattr(type(self), name) is getattr(WindowAttention, name) for name in EQUATION_6)

    @property
    def joint(self) -> nn.Linear:
        """The linear layer that gives the parts, one after the other."""
        return getattr(self, self.JOINT)

    @property
    def linears(self) -> list[tuple[nn.Linear, str]]:
        """Every linear layer that makes queries, keys or values, and which, in order."""
        return [(self.joint, self.JOINT)]

    def forward(
        self, tokens: TokensOrMap, query: Query | None, layout: Layout, record: AttentionRecord | None = None
    ) -> TokensOrMap:
        """Attention over windows or, where `layout` leaves the map uncut, on the map, which takes no record."""
        if layout.zeroed is not None:
            tokens = tokens.masked_fill(layout.zeroed[..., None], 0)
        if record is not None:
            x = self.traced(tokens, query, layout, record)
        elif layout.pieces:
            x = self.on_pieces(tokens, query, layout.pieces)
        elif layout.cut:
            x = self.in_windows(tokens, query, layout.padding, layout.closed)
        else:
            x = self.on_map(tokens, query)
        return self.dropout(self.proj(x))

    def project(self, tokens: TokensOrMap) -> Projected:
        """Each token's query, key and value, or key and value."""
        return self.joint(tokens).unflatten(-1, (len(self.JOINT), self.heads, -1))

    def queries_keys_values(self, tokens: Tokens, query: Query | None) -> tuple[Heads, Heads, Heads]:
        """A window's own, or the image's one global query, which all its windows share (Eq. 3)."""
        parts = dict(zip(self.JOINT, self.project(tokens).permute(3, 0, 1, 4, 2, 5), strict=True))
        parts |= self.shared(query, tokens.shape[1])
        return parts["q"], parts["k"], parts["v"]

    def shared(self, query: Query | None, windows: int) -> dict[str, Heads]:
        """The parts that all windows of an image share, by their letters."""
        return {}

    def in_windows(self, tokens: Tokens, query: Query | None, padding: Padding, closed: bool) -> Tokens:
        """`padding` is True for tokens outside the picture, which nothing may attend to; `closed` as in `Layout`."""
        q, k, v = self.queries_keys_values(tokens, query)
        bias = self.bias()
        x = self.attend(q, k, v, bias if padding is None else self.mask(bias, padding), closed)
        if torch.compiler.is_exporting():
            # How heads lie in memory depends on how torch's call is taken apart, and that may be done anew: no view.
            x = x.clone(memory_format=torch.contiguous_format)
        return x.flatten(3)

    def on_pieces(self, x: Map, query: Query | None, pieces: Sequence[Piece]) -> Map:
        """The same where windows at the map's edges have fewer tokens, so that there is nothing to mask. These are the
        first rows and columns of a whole one, and that is what they take of the global query and of the bias."""
        rows = []
        for _, row in groupby(pieces, key=lambda piece: piece.start[0]):
            parts = []
            for (top, left), size, window in row:
                own = cut(x[:, top : top + size[0], left : left + size[1]], window)
                asked = None if query is None else first_tokens(query, self.bias.window, window)
                mixed = self.attend(*self.queries_keys_values(own, asked), self.bias(window))
                parts.append(merge(mixed.flatten(3), window, size))
            rows.append(torch.cat(parts, 2))
        return torch.cat(rows, 1)

    def attend(self, q: Heads, k: Heads, v: Heads, bias: Tensor, closed: bool = False) -> Mixed:
        """bias: (heads, tokens, tokens), or of each window."""
        dropout = self.attention_dropout if self.training else 0.0
        # The kernels take four axes. The bias is the same in every window, so windows join the batch; with padding
        # it differs from window to window but not from image to image, so they join the heads.
        merged = bias.ndim - 3
        if merged:
            bias = bias.flatten(0, 1)
        axes = q.shape[merged : merged + 2]
        q, k, v = (x.flatten(merged, merged + 1) for x in (q, k, v))
        if closed and not dropout:
            x = compiled_attention.attention(q, k, v, bias, self.scale)
        elif not dropout and cpu_attention.applies(q, k, v, bias):
            x = cpu_attention.attention(q, k, v, bias, self.scale)
        else:
            x = F.scaled_dot_product_attention(q, k, v, bias[None], dropout, scale=self.scale)
        return x.unflatten(merged, axes).transpose(2, 3)

    def on_map(self, x: Map, query: Query | None) -> Map:
        """The same by the fused kernel, which does not cut the map: in inference on a GPU."""
        projected = self.project(x)
        # Under autocast the types of query and keys may differ.
        shared = None if "q" in self.JOINT or query is None else query.to(projected.dtype)
        return window_attention(projected, shared, self.bias.table, self.bias.window, self.scale)

    def traced(self, tokens: Tokens, query: Query | None, layout: Layout, record: AttentionRecord) -> Tokens:
        """As `in_windows`, noting down what each token of a window attends to; columns of padding are 0."""
        q, k, v = self.queries_keys_values(tokens, query)
        if record.through == "values":
            q = q.detach()
        record.weights, record.logsumexp = self.weights(q, k, layout.padding)
        record.values = v
        if not record.through:
            return self.in_windows(tokens, query, layout.padding, layout.closed)
        weights = F.dropout(record.weights, self.attention_dropout, self.training)
        return (weights @ v).transpose(2, 3).flatten(3)

    def weights(
        self, q: Heads, k: Heads, padding: Padding
    ) -> tuple[Float[Tensor, "batch windows heads tokens tokens"], Float[Tensor, "batch windows heads tokens"]]:
        """softmax(s) and logsumexp(s) of the scores s = q kᵀ / √d + b, over the keys of each window."""
        bias = self.bias()
        scores = q @ k.transpose(-1, -2) * self.scale + (bias if padding is None else self.mask(bias, padding))
        return scores.softmax(-1), scores.logsumexp(-1)

    @staticmethod
    def mask(
        bias: Float[Tensor, "heads tokens tokens"], padding: Bool[Tensor, "windows *queries keys"]
    ) -> Float[Tensor, "windows heads tokens tokens"]:
        """The bias of each window, −∞ where the key is padding, for all queries or for each of them; every query has at
        least one key that is not."""
        hidden = padding[:, None] if padding.ndim == 2 else padding
        return bias.masked_fill(hidden[:, None], float("-inf"))


EQUATION_6 = ("project", "queries_keys_values", "attend", "weights", "in_windows", "on_pieces", "traced", "mask")


class LocalAttention(WindowAttention):
    """Queries, keys and values from the window's own tokens."""

    JOINT = "qkv"


class GlobalAttention(WindowAttention):
    """Keys and values from the window's tokens; the queries are the image's global query."""

    JOINT = "kv"

    def shared(self, query: Query | None, windows: int) -> dict[str, Heads]:
        assert query is not None
        return {"q": in_every_window(query, windows)}


def first_tokens(query: Query, window: Pair, part: Pair) -> Query:
    """Of a window's tokens, row by row, those in its first rows and columns. part: how many of each."""
    return query.unflatten(2, window)[:, :, : part[0], : part[1]].flatten(2, 3)


def in_every_window(query: Query, windows: int) -> Heads:
    """Expanded over windows inside each image, never tiled: Algorithm 1's repeat mixes the images of a batch."""
    return query[:, None].expand(-1, windows, -1, -1, -1)
