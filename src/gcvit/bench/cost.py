"""Parameters and multiply-accumulates of a model, as torch counts them and as the papers of dense tasks do. Papers
print MACs and call them FLOPs."""

from collections.abc import Callable
from copy import deepcopy
from itertools import chain
from math import prod

import torch
from torch import Size, Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from gcvit.errors import UserError
from gcvit.internals.of_torch import pooling_operator
from gcvit.model.config import STAGES, GCViTConfig, Pair
from gcvit.model.gcvit import GCViT
from gcvit.model.windows import grid

aten = torch.ops.aten


def parameters(model: nn.Module) -> int:
    """Learned numbers. A folded copy has fewer than its model: its gathered biases are buffers."""
    return sum(parameter.numel() for parameter in model.parameters())


def macs(model: nn.Module, img_size: int | Pair, batch: int = 1, *, in_chans: int | None = None) -> int:
    """Multiply-accumulates of one forward pass in eval mode: half the operations that torch's counter sees in linear
    layers, convolutions and attention; norms, activations and other work by the element count nothing.

    model: ours or any other that takes (batch, channels, height, width); it stays as it is, and nothing is computed,
        only shapes. img_size: pixels, a side or (height, width). batch: images, at least 1. in_chans: channels of the
        image; None for a GC ViT's own, and 3 for other models.

    Raises UserError for a batch below 1 and whatever the model raises for such an image.
    """
    if batch < 1:
        raise UserError(f"batch must be at least 1 image, not {batch}")
    return macs_by_module(model, img_size, batch, in_chans=in_chans)[""]


def macs_by_module(
    model: nn.Module, img_size: int | Pair, batch: int = 1, *, in_chans: int | None = None
) -> dict[str, int]:
    """The same for each module that is called, by its name in the model, with what it calls; "" is the whole."""
    height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
    if in_chans is None:
        in_chans = model.config.in_chans if isinstance(model, GCViT) else 3
    shapes = _without_numbers(model).eval()
    dtype = next((tensor.dtype for tensor in shapes.parameters()), torch.get_default_dtype())
    counter = _counted(shapes, torch.empty(batch, in_chans, height, width, dtype=dtype, device="meta"))
    counts = {name.partition(".")[2]: sum(own.values()) // 2 for name, own in counter.get_flop_counts().items()}
    return counts | {"": counter.get_total_flops() // 2}


def paper_macs(model: nn.Module, size: Pair, *, in_chans: int = 3) -> int:
    """Multiply-accumulates of one image of `size` (height, width) in pixels as the papers of detection and segmentation
    count them, their tables' "FLOPs"; all that is computed for padding included.

    That counter hooks layers: beside the products it counts the biases of convolutions, norms (2 for each element),
    ReLU and pooling (1 for each element that they read), but neither GELU, softmax and sums nor interpolation.

    model: in eval mode and on the meta device, where only shapes are computed.
    """
    return _counted(model, torch.empty(1, in_chans, *size, device="meta"), COUNTS).get_total_flops() // 2


def padding_macs(config: GCViTConfig, size: Pair) -> int:
    """Those of them that a GC ViT spends on norms and MLPs of padding. Here a stage is padded once, so its blocks
    compute these; the published dense code pads each block's attention alone, and its costs are without them."""
    total = 0
    for stage in range(STAGES):
        rows, columns = (-(-side // 2 ** (stage + 2)) for side in size)
        window, channels = config.stage_windows[stage], config.channels[stage]
        tokens = prod(grid((rows, columns), window)) * prod(window) - rows * columns
        norms, mlp = 2 * 2 * channels, 2 * channels * int(channels * config.mlp_ratio)
        total += config.depths[stage] * tokens * (norms + mlp)
    return total


def _counted(
    model: nn.Module, images: Tensor, counts: dict[object, Callable[..., int]] | None = None
) -> FlopCounterMode:
    with FlopCounterMode(display=False, custom_mapping=counts) as counter, torch.no_grad():
        model(images)
    return counter


def _without_numbers(model: nn.Module) -> nn.Module:
    """A copy on the meta device, made without copying any weight."""
    memo: dict[int, object] = {}
    for tensor in chain(model.parameters(), model.buffers()):
        empty = torch.empty_like(tensor, device="meta")
        memo[id(tensor)] = nn.Parameter(empty, False) if isinstance(tensor, nn.Parameter) else empty
    return deepcopy(model, memo)


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
