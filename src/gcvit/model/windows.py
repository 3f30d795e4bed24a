"""Windows: pure functions between a map and its windows, and the mask of what is not picture.

A map is (batch, height, width, channels). Its windows are (batch, windows, tokens, channels): windows row by
row within each image, tokens row by row within each window. Batch and windows stay two axes, so that nothing
can be repeated over the one that belongs to the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from gcvit.model.config import Pair


class Piece(NamedTuple):
    """A rectangle of a map with windows of one size, all in tokens. start: (row, column). size: (rows, columns).
    window: (height, width), less than elsewhere at the map's right and bottom."""

    start: Pair
    size: Pair
    window: Pair


@dataclass(frozen=True)
class Layout:
    """How the tokens lie that a stage hands to its blocks.

    padding: True for tokens of the windows that are outside the map, which nothing may attend to; None: there are none.
    zeroed: the same tokens where they are to be attended to, as zeros (`mask_padding=False`).
    grid: (rows, columns) of windows, for those that shift them.
    cut: whether they are windows, (batch, windows, tokens, channels), or still the map, which attention cuts itself.
    pieces: of the map, in which it does so; none: the fused kernel does (`gcvit.kernels.window_attention`), which finds
        the windows itself, and their padding.
    closed: whether attention over windows is to be one operator, into which the compiler does not look.
    """

    padding: Bool[Tensor, "windows tokens"] | None = None
    zeroed: Bool[Tensor, "windows tokens"] | None = None
    grid: Pair | None = None
    cut: bool = True
    pieces: Sequence[Piece] = ()
    closed: bool = False


UNCUT = Layout(cut=False)


def grid(size: Pair, window: Pair) -> Pair:
    """(rows, columns) of windows that cover a map of `size`, both in tokens."""
    return ceil(size[0] / window[0]), ceil(size[1] / window[1])


def pad(x: Float[Tensor, "batch height width channels"], window: Pair) -> Float[Tensor, "batch rows columns channels"]:
    """Zeros on the right and at the bottom until whole windows cover the map."""
    height, width = x.shape[1:3]
    rows, columns = grid((height, width), window)
    below, right = rows * window[0] - height, columns * window[1] - width
    return F.pad(x, (0, 0, 0, right, 0, below)) if below or right else x


def split(
    x: Float[Tensor, "batch height width channels"], window: Pair
) -> Float[Tensor, "batch windows tokens channels"]:
    """Cut a map into windows, padding it where it does not fill the last ones."""
    return cut(pad(x, window), window)


def cut(
    x: Float[Tensor, "batch rows columns channels"], window: Pair
) -> Float[Tensor, "batch windows tokens channels"]:
    """Cut a map of whole windows."""
    (batch, height, width, channels), (h, w) = x.shape, window
    rows, columns = height // h, width // w
    x = x.view(batch, rows, h, columns, w, channels).transpose(2, 3)
    return x.reshape(batch, rows * columns, h * w, channels)


def merge(
    tokens: Float[Tensor, "batch windows tokens channels"], window: Pair, size: Pair
) -> Float[Tensor, "batch height width channels"]:
    """Put the windows back together and drop the padding: merge(split(x, window), window, size of x) is x."""
    (batch, _, _, channels), (h, w), (rows, columns) = tokens.shape, window, grid(size, window)
    x = tokens.view(batch, rows, columns, h, w, channels).transpose(2, 3)
    return x.reshape(batch, rows * h, columns * w, channels)[:, : size[0], : size[1]].contiguous()


def padding_mask(size: Pair, window: Pair, device: torch.device) -> Bool[Tensor, "windows tokens"] | None:
    """True where a token of a window lies outside the map of `size`; None when none does."""
    (rows, columns), (h, w) = grid(size, window), window
    if (rows * h, columns * w) == size:
        return None
    below = torch.arange(rows * h, device=device) >= size[0]
    right = torch.arange(columns * w, device=device) >= size[1]
    outside = below[:, None] | right[None, :]
    return outside.view(rows, h, columns, w).transpose(1, 2).reshape(rows * columns, h * w)


def pieces_of(size: Pair, window: Pair) -> list[Piece]:
    """A map of `size`, row by row: its whole windows, and what those at its right, at its bottom and in the corner have
    of it."""
    spans = []
    for side, length in zip(size, window, strict=True):
        whole, rest = side // length * length, side % length
        spans.append([(start, tokens, w) for start, tokens, w in ((0, whole, length), (whole, rest, rest)) if tokens])
    return [Piece((y, x), (rows, columns), (h, w)) for y, rows, h in spans[0] for x, columns, w in spans[1]]
