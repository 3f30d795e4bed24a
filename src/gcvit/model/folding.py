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
from gcvit.model.attention import FixedBias, WindowAttention
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
            _fold_block(block, model.config.mask_padding)
    if type(folded.stem) is Stem:
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


def _fold_block(block: "Block", mask_padding: bool) -> None:
    attention, mlp = block.attention, block.mlp
    if isinstance(attention.bias, FixedBias):
        raise ValueError("this model is folded already")
    assert isinstance(mlp, MLP)
    attention.bias = FixedBias(attention.bias)
    if mask_padding:  # padding that may be attended to is 0 behind the norm's shift
        block.norm1 = _fold_norm(block.norm1, attention.joint)
    block.norm2 = _fold_norm(block.norm2, mlp.fc1)
    if attention.as_published:
        for linear, parts in attention.linears:
            _fold_parts(linear, parts, attention)
        attention.scale = 1.0
    block.scale1 = _fold_scale(attention.proj, block.scale1)
    block.scale2 = _fold_scale(mlp.fc2, block.scale2)
    for name, child in list(attention.named_children()):
        if any(child is linear for linear, _ in attention.linears):
            setattr(attention, name, InferenceLinear(child))  # type: ignore[arg-type]
    attention.proj = InferenceLinear(attention.proj)
    block.mlp = nn.Sequential(InferenceLinear(mlp.fc1, gelu=True), InferenceLinear(mlp.fc2))


def _fold_parts(linear: nn.Linear, parts: str, attention: WindowAttention) -> None:
    """Fold what a linear makes of each token, one letter a part."""
    # A global block has only keys to scale, its query serves all blocks.
    scaled, proj = "q" if "q" in attention.JOINT else "k", attention.proj
    weights, biases = (x.split(linear.in_features) for x in (linear.weight, linear.bias))
    for part, weight, bias in zip(parts, weights, biases, strict=True):
        if part == scaled:
            weight *= attention.scale
            bias *= attention.scale
        if part == "v":  # the weights of attention sum to 1, so a shift of the values comes out whole
            _set(proj, proj.weight, proj.bias + proj.weight.double() @ bias.double())
        if part != "q":  # and softmax takes no notice of what is added to all keys
            bias.zero_()
    if "q" not in parts:
        linear.register_parameter("bias", None)


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
