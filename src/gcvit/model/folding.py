"""The inference copy: everything that does not depend on the image is computed once.

Only submodules change, so the forward pass stays the one of `gcvit.model.gcvit`. Sums are made in float64 and
stored in the model's own precision.
"""

from copy import deepcopy
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gcvit.kernels.linear import InferenceLinear
from gcvit.model.attention import FixedBias, GlobalAttention, LocalAttention
from gcvit.model.layers import MLP, LayerScale, Stem

if TYPE_CHECKING:
    from gcvit.model.gcvit import Block, GCViT


@torch.no_grad()
def fold(model: "GCViT") -> "GCViT":
    """A copy in eval mode, without gradients, equal to 1e-5: each block's biases are gathered, the norms' scale and
    shift and the attention's scale move into the linear that follows, layer scale into the one before it, the keys'
    shift disappears and the values' moves into the projection; on the CPU, linears are computed with their bias and
    GELU in one go. `model` stays as it is.
    Raises ValueError for a copy that is already folded."""
    folded = deepcopy(model).eval().requires_grad_(False)
    for stage in folded.stages:
        for block in stage.blocks:
            _fold_block(block)
    folded.stem = FoldedStem(folded.stem)
    return folded.to(memory_format=torch.channels_last)  # the convolutions' weights, as their images are


class FoldedStem(Stem):
    """The stem, with the weights of another. On the CPU its large maps stay in the cache when one image follows the
    other."""

    def __init__(self, stem: Stem) -> None:
        nn.Module.__init__(self)
        self.conv, self.downsample = stem.conv, stem.downsample

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch rows columns outs"]:
        if torch.compiler.is_compiling() or images.device.type != "cpu" or len(images) < 2:
            return super().forward(images)
        one_by_one = super().forward
        return torch.cat([one_by_one(image) for image in images.split(1)])


def _fold_block(block: "Block") -> None:
    attention, mlp = block.attention, block.mlp
    if isinstance(attention.bias, FixedBias):
        raise ValueError("this model is folded already")
    assert isinstance(mlp, MLP)
    attention.bias = FixedBias(attention.bias)
    first = attention.qkv if isinstance(attention, LocalAttention) else attention.kv
    block.norm1 = _fold_norm(block.norm1, first)
    block.norm2 = _fold_norm(block.norm2, mlp.fc1)
    # The first third of qkv are the queries; a global block has only keys to scale, its query serves all blocks.
    rows = torch.ones(first.out_features, 1, dtype=torch.float64, device=first.weight.device)
    rows[: first.in_features] = attention.scale
    _set(first, rows * first.weight, rows[:, 0] * first.bias)
    attention.scale = 1.0
    # Softmax takes no notice of what is added to all keys; its rows sum to 1, so a shift of the values comes out whole.
    values = first.bias[-first.in_features :].double()
    _set(attention.proj, attention.proj.weight, attention.proj.bias + attention.proj.weight.double() @ values)
    first.bias[-2 * first.in_features :] = 0
    if isinstance(attention, GlobalAttention):
        first.register_parameter("bias", None)
    block.scale1 = _fold_scale(attention.proj, block.scale1)
    block.scale2 = _fold_scale(mlp.fc2, block.scale2)
    if isinstance(attention, LocalAttention):
        attention.qkv = InferenceLinear(attention.qkv)
    else:
        attention.kv = InferenceLinear(attention.kv)
    attention.proj = InferenceLinear(attention.proj)
    block.mlp = nn.Sequential(InferenceLinear(mlp.fc1, gelu=True), InferenceLinear(mlp.fc2))


def _fold_norm(norm: nn.LayerNorm, linear: nn.Linear) -> nn.LayerNorm:
    weight = linear.weight.double()
    _set(linear, weight * norm.weight, linear.bias.double() + weight @ norm.bias.double())
    return nn.LayerNorm(norm.normalized_shape, norm.eps, elementwise_affine=False)


def _fold_scale(linear: nn.Linear, scale: nn.Module) -> nn.Module:
    if isinstance(scale, LayerScale):
        gamma = scale.gamma.double()
        _set(linear, gamma[:, None] * linear.weight, gamma * linear.bias)
    return nn.Identity()


def _set(linear: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    linear.weight.copy_(weight)
    linear.bias.copy_(bias)
