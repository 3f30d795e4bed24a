"""Parameters and multiply-accumulates of a model. Papers print MACs and call them FLOPs."""

from copy import deepcopy
from itertools import chain

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gcvit.errors import UserError
from gcvit.model.config import Pair
from gcvit.model.gcvit import GCViT


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
    height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
    if in_chans is None:
        in_chans = model.config.in_chans if isinstance(model, GCViT) else 3
    shapes = _without_numbers(model).eval()
    dtype = next((tensor.dtype for tensor in shapes.parameters()), torch.get_default_dtype())
    images = torch.empty(batch, in_chans, height, width, dtype=dtype, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        shapes(images)
    return counter.get_total_flops() // 2


def _without_numbers(model: nn.Module) -> nn.Module:
    """A copy on the meta device, made without copying any weight."""
    memo: dict[int, object] = {}
    for tensor in chain(model.parameters(), model.buffers()):
        empty = torch.empty_like(tensor, device="meta")
        memo[id(tensor)] = nn.Parameter(empty, False) if isinstance(tensor, nn.Parameter) else empty
    return deepcopy(model, memo)
