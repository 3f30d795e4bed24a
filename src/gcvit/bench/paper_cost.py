"""Multiply-accumulates as the papers of detection and segmentation count them: their tables' "FLOPs".

That counter hooks layers: beside the products it counts the biases of convolutions, norms (2 for each element), ReLU
and pooling (1 for each element that they read), but neither GELU, softmax and sums nor interpolation.
"""

from collections.abc import Callable
from math import prod

import torch
from torch import Size, nn
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from gcvit.internals.of_torch import pooling_operator
from gcvit.model import GCViTConfig
from gcvit.model.config import STAGES, Pair
from gcvit.model.windows import grid

aten = torch.ops.aten


def paper_macs(model: nn.Module, size: Pair, *, in_chans: int = 3) -> int:
    """Multiply-accumulates of one image of `size` (height, width) in pixels, all that is computed for padding included.

    model: in eval mode and on the meta device, where only shapes are computed.
    """
    with FlopCounterMode(display=False, custom_mapping=COUNTS) as counter, torch.no_grad():
        model(torch.empty(1, in_chans, *size, device="meta"))
    return counter.get_total_flops() // 2


def padding_macs(config: GCViTConfig, size: Pair) -> int:
    """Those of them that a GC ViT spends on norms and MLPs of padding. Here a stage is padded once, so its blocks
    compute these; the published dense code pads each block's attention alone, and its costs are without them."""
    total = 0
    for stage in range(STAGES):
        rows, columns = (-(-side // 2 ** (stage + 2)) for side in size)
        window, channels = config.stage_windows[stage], config.channels[stage]
        vertical, horizontal = grid((rows, columns), window)
        tokens = vertical * window[0] * horizontal * window[1] - rows * columns
        norms, mlp = 2 * 2 * channels, 2 * channels * int(channels * config.mlp_ratio)
        total += config.depths[stage] * tokens * (norms + mlp)
    return total


def _convolution(x: Size, weight: Size, bias: Size | None, *args: object, out_shape: Size) -> int:
    _stride, _padding, _dilation, transposed, *_ = args
    products = conv_flop_count(list(x), list(weight), list(out_shape), transposed=bool(transposed))
    return products if bias is None else products + 2 * prod(out_shape)


def _each_element(macs: int) -> Callable[..., int]:
    """`macs` for each element that is read, in torch's unit: two operations to a multiply-accumulate."""

    def count(x: Size, *args: object, out_shape: object, **kwargs: object) -> int:
        return 2 * macs * prod(x)

    return count


# What torch's own counter leaves out, by the operator that a layer comes down to; each is given shapes.
COUNTS: dict[object, Callable[..., int]] = {
    aten.convolution: _convolution,
    aten.native_layer_norm: _each_element(2),
    aten.native_batch_norm: _each_element(2),
    aten.native_batch_norm.default: _each_element(2),  # torch 2.11 would take it apart if it did not find this key
    aten.relu: _each_element(1),
    aten.max_pool2d_with_indices: _each_element(1),
    pooling_operator(): _each_element(1),
    aten.mean: _each_element(1),  # pooling to one cell, as in squeeze-and-excitation
}
