"""The papers' counter, layer by layer and on whole blocks by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcvit.bench.cost import macs, padding_macs, paper_macs
from gcvit.factory import create_model
from gcvit.model import GCViT
from gcvit.model.config import STAGES


class Function(nn.Module):
    """A layer that is a function of the image."""

    def __init__(self, function) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def attention(x: Tensor) -> Tensor:
    """One head on the image's rows: (1, 1, height, width)."""
    return F.scaled_dot_product_attention(x, x, x)


PIXELS = 6 * 8
LAYERS = {
    "convolution with bias": (nn.Conv2d(3, 5, 3, padding=1), 3, PIXELS * 5 * (27 + 1)),
    "convolution without": (nn.Conv2d(3, 5, 3, padding=1, bias=False), 3, PIXELS * 5 * 27),
    "depthwise, strided": (nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=4, bias=False), 4, 12 * 4 * 9),
    "linear, its bias not": (nn.Linear(8, 5), 3, 3 * 6 * 8 * 5),
    "layer norm": (nn.LayerNorm(8), 3, 2 * 3 * PIXELS),
    "batch norm": (nn.BatchNorm2d(3).eval(), 3, 2 * 3 * PIXELS),
    "ReLU": (nn.ReLU(), 3, 3 * PIXELS),
    "max-pooling": (nn.MaxPool2d(3, 2, 1), 3, 3 * PIXELS),
    "average pooling": (nn.AdaptiveAvgPool2d(2), 3, 3 * PIXELS),
    "to one cell": (nn.AdaptiveAvgPool2d(1), 3, 3 * PIXELS),
    "attention": (Function(attention), 1, 2 * 6 * 6 * 8),
    "GELU": (nn.GELU(), 3, 0),
    "softmax": (nn.Softmax(1), 3, 0),
    "interpolation": (nn.Upsample(scale_factor=2, mode="bilinear"), 3, 0),
    "a sum": (Function(lambda x: x + x), 3, 0),
}


@pytest.mark.parametrize(("layer", "channels", "expected"), LAYERS.values(), ids=LAYERS)
def test_a_layer(layer: nn.Module, channels: int, expected: int) -> None:
    assert paper_macs(layer.to("meta"), (6, 8), in_chans=channels) == expected


def test_a_model_by_hand() -> None:
    """torch's own count of the products, and what this one adds, from the layers that the model has."""
    with torch.device("meta"):
        model = create_model("gcvit_pico", img_size=64, head=False).eval()
    added = 0
    for index, stage in enumerate(model.stages):
        channels, side = model.config.channels[index], model.config.map_sizes[index][0]
        added += len(stage.blocks) * 2 * 2 * channels * side**2  # norms
        pooled = side
        for layer in range(len(stage.query.mbconvs)):
            added += channels * pooled**2  # squeeze
            if layer < stage.query.poolings:
                added += channels * pooled**2
                pooled = (pooled + 1) // 2
        if index + 1 < STAGES:
            added += (2 + 1) * channels * side**2 + 2 * (2 * channels) * (side // 2) ** 2  # norm1, squeeze, norm2
    dim = model.config.dim
    added += dim * 32**2  # the bias of the first convolution
    added += (2 + 1) * dim * 32**2 + 2 * dim * 16**2  # the stem's downsampler
    assert paper_macs(model, (64, 64)) == macs(model, (64, 64)) + added


def test_padding_is_what_a_model_of_fitting_windows_saves() -> None:
    def counted(model: GCViT) -> tuple[int, int]:
        return paper_macs(model.eval(), (64, 96)), padding_macs(model.config, (64, 96))

    with torch.device("meta"):
        fits = create_model("gcvit_pico", img_size=(64, 96), windows=((4, 4), (4, 4), (4, 6), (2, 3)), head=False)
        pads = create_model("gcvit_pico", img_size=(64, 96), windows=((4, 4), (4, 4), (4, 6), (4, 3)), head=False)
    (fitting, nothing), (padded, extra) = counted(fits), counted(pads)
    assert nothing == 0
    channels, blocks, tokens = fits.config.channels[3], fits.config.depths[3], 2 * 3
    assert extra == blocks * tokens * (4 * channels + 4 * channels**2)
    # Beside it there is attention: projections of the padding, and twice as many keys for twice as many queries. All
    # convolutions are the same.
    projections = tokens * channels**2 * (3 + 1 + 2 + 1)
    products = 2 * channels * (12 * 12 - 6 * 6) * blocks
    assert padded - fitting == extra + projections + products
