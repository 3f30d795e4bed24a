"""Maps of window attention: what tokens read. Pure functions of what `GCViT.trace` gives.

Of window n, query token i and key token j: s_ij^n = q_i·k_j^n / √d + b_ij, A = softmax_j s, L_i^n = logsumexp_j s. In a
global block q is one for all windows (Eq. 3), so that scores of different windows can be compared; in a local block
each window has its own. A map is (rows, columns), at the stage's tokens; windows that stick out of it are cut off.
"""

from dataclasses import dataclass
from typing import get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gcvit.errors import UserError
from gcvit.explain.settings import HeadOrMean, Kind
from gcvit.model.config import Pair
from gcvit.model.windows import grid, merge, padding_mask

PlaneMap = Float[Tensor, "rows columns"]


@dataclass(frozen=True)
class BlockAttention:
    """The attention of one block in one picture.

    weights: A, (windows, heads, tokens, tokens). logsumexp: L, (windows, heads, tokens). lengths: ‖W_o v‖ of what each
    token gives, head by head, (windows, heads, tokens). shared: whether its query is the image's, as in global blocks.
    window, size: (height, width) in tokens, of a window and of the stage's map.
    """

    weights: Float[Tensor, "windows heads tokens tokens"]
    logsumexp: Float[Tensor, "windows heads tokens"]
    lengths: Float[Tensor, "windows heads tokens"]
    shared: bool
    window: Pair
    size: Pair

    @property
    def windows(self) -> Pair:
        """(rows, columns) of windows."""
        return grid(self.size, self.window)

    @property
    def outside(self) -> Bool[Tensor, "windows tokens"]:
        """True for tokens that are padding."""
        mask = padding_mask(self.size, self.window, self.weights.device)
        return torch.zeros(self.weights.shape[0], self.weights.shape[2], dtype=torch.bool) if mask is None else mask

    def map(self, kind: Kind = "image", head: HeadOrMean = None, token: int | None = None) -> PlaneMap:
        """What query token `token` finds in every window; None: the mean over tokens, and over heads.

        kind: window: A, what is computed; it sums to 1 in each window, so an empty one looks as bright as a full one.
            image: A · softmax_n L, one softmax over the whole picture, which sums to 1 over the map. It exists because
            the query is shared; a number added to all scores of a window would change it, but nothing that the model
            computes. norm: A ‖W_o v‖, the length of what is added to the token (Kobayashi et al., 2020).
        Raises UserError for a kind that local blocks do not have, and for heads and tokens that are not there.
        """
        self._check(kind, head, token)
        weights = self.weights
        if kind == "image":
            if not self.shared:
                raise UserError(
                    "there is no map over the whole image in a local block: each window has its own queries; "
                    "choose a global block, or the map window"
                )
            weights = weights * self.logsumexp.softmax(0)[..., None]
        elif kind == "norm":
            weights = weights * self.lengths[:, :, None]
        weights = weights.mean(1) if head is None else weights[:, head]
        if token is not None:
            return self._plane(weights[:, token])
        if self.shared:
            return self._plane(weights.mean(1))
        asking = (~self.outside).to(weights)  # padding asks too, but nobody hears of it
        return self._plane((weights * asking[..., None]).sum(1) / asking.sum(1, keepdim=True))

    def reads(self, place: Pair, head: HeadOrMean = None) -> PlaneMap:
        """What the token at `place` (row, column) reads: A in its own window, which sums to 1, and 0 elsewhere."""
        window, token = self.at(place)
        return self._in(window, self._of(head, window)[token])

    def read_by(self, place: Pair, head: HeadOrMean = None) -> PlaneMap:
        """How much each token of the same window reads the one at `place` (row, column), 0 to 1; 0 elsewhere."""
        window, token = self.at(place)
        return self._in(window, self._of(head, window)[:, token])

    def at(self, place: Pair) -> tuple[int, int]:
        """(window, token) at a (row, column) of the map. Raises UserError outside it."""
        if not all(0 <= where < side for where, side in zip(place, self.size, strict=True)):
            raise UserError(f"row and column {place} are outside the map of {self.size[0]}×{self.size[1]} tokens")
        (row, y), (column, x) = divmod(place[0], self.window[0]), divmod(place[1], self.window[1])
        return row * self.windows[1] + column, y * self.window[1] + x

    def _of(self, head: HeadOrMean, window: int) -> Float[Tensor, "tokens tokens"]:
        self._check("window", head, None)
        return self.weights[window].mean(0) if head is None else self.weights[window, head]

    def _in(self, window: int, values: Float[Tensor, "tokens"]) -> PlaneMap:  # noqa: F821
        everywhere = values.new_zeros(self.weights.shape[0], len(values))
        everywhere[window] = values
        return self._plane(everywhere)

    def _plane(self, values: Float[Tensor, "windows tokens"]) -> PlaneMap:
        return merge(values[None, ..., None], self.window, self.size)[0, ..., 0]

    def _check(self, kind: str, head: HeadOrMean, token: int | None) -> None:
        if kind not in get_args(Kind):
            raise UserError(f"there is no map {kind!r}; there are {', '.join(get_args(Kind))}")
        _, heads, tokens, _ = self.weights.shape
        for what, number, count in (("head", head, heads), ("token", token, tokens)):
            if number is not None and not 0 <= number < count:
                raise UserError(f"there is no {what} {number}; they are counted from 0 to {count - 1}")


def query_token(place: tuple[float, float], image: Pair, window: Pair) -> int:
    """The global query token that stands for the image's cell at `place` (x, y) in pixels; image: (height, width)."""
    row, column = token_at(place, image, window)
    return row * window[1] + column


def token_at(place: tuple[float, float], image: Pair, tokens: Pair) -> Pair:
    """(row, column), of a map of `tokens` a side, at (x, y) in pixels of an image (height, width). Raises UserError
    outside it."""
    x, y = place
    if not (0 <= x < image[1] and 0 <= y < image[0]):
        raise UserError(f"the point x {x:g}, y {y:g} is outside the image, which is {image[1]}×{image[0]} px")
    return min(int(y * tokens[0] / image[0]), tokens[0] - 1), min(int(x * tokens[1] / image[1]), tokens[1] - 1)
