"""Attention rollout along the value path (Abnar and Zuidema, 2020), as far as windows let it.

Within a stage, tokens of a window mix with each other only: each block with R = ½ I + ½ A, the half being the residual.
Stages are chained by upsampling, since between them a convolution halves the map. That leaves out MLPs, convolutions
and whatever the queries carry (see `Look.split` for a split without such liberties).
"""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gcvit.explain.attention import BlockAttention, PlaneMap
from gcvit.model.windows import merge, split

Mixing = Float[Tensor, "windows tokens tokens"]


def rollout(stages: Sequence[Sequence[BlockAttention]]) -> list[PlaneMap]:
    """For each stage, how much each of its input's tokens has in the last map's mean, by ½ I + ½ A with A the mean over
    heads; each map sums to 1.

    stages: the blocks of each, in order.
    """
    return _chain(stages, [[block.weights.mean(1) for block in blocks] for blocks in stages])


def class_rollout(
    stages: Sequence[Sequence[BlockAttention]], gradients: Sequence[Sequence[Float[Tensor, "windows heads tokens _"]]]
) -> list[PlaneMap]:
    """The same with (A ⊙ ∂y/∂A)₊ in the place of A (Chefer et al., 2021), for the class whose score is y.

    gradients: ∂y/∂A of each block. Each block's is scaled so that its tokens' rows sum to 1 in the mean: a window that
    speaks for the class gains weight at the expense of those that do not.
    """
    mixing = []
    for blocks, slopes in zip(stages, gradients, strict=True):
        row = []
        for block, slope in zip(blocks, slopes, strict=True):
            evidence = (block.weights * slope).clamp_min(0).mean(1) * ~block.outside[..., None]
            row.append(evidence * (~block.outside).sum() / evidence.sum().clamp_min(1e-30))
        mixing.append(row)
    return _chain(stages, mixing)


def _chain(stages: Sequence[Sequence[BlockAttention]], mixing: Sequence[Sequence[Mixing]]) -> list[PlaneMap]:
    """From the last map's mean back to each stage's input."""
    share: PlaneMap | None = None
    found: list[PlaneMap] = []
    for blocks, mixes in zip(reversed(stages), reversed(mixing), strict=True):
        size, window = blocks[0].size, blocks[0].window
        if share is None:
            share = blocks[0].weights.new_ones(size)
        else:
            share = F.interpolate(share[None, None], size, mode="bilinear", align_corners=False)[0, 0]
        tokens = split((share / share.sum())[None, ..., None], window)[0, ..., 0]
        for mix in reversed(mixes):
            tokens = tokens / 2 + (tokens[:, None] @ mix)[:, 0] / 2
        share = merge(tokens[None, ..., None], window, size)[0, ..., 0]
        share = share / share.sum()
        found.append(share)
    return found[::-1]
