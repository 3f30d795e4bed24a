"""The global query generator (section 2.1, Figure 5, Eq. 2)."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gcvit.model.config import GCViTConfig, Pair, Resize
from gcvit.model.layers import FusedMBConv, as_nchw, as_nhwc


class GlobalQuery(nn.Module):
    """One window of query tokens that stands for the whole image, computed once per stage from the stage's input.

    Each layer is a fused MBConv followed, for the first `poolings` of them, by a 3×3 max-pooling of stride 2. Where
    the pooled map is not as large as the window, it is resized to it, bicubically, as in the published dense code.
    """

    def __init__(self, config: GCViTConfig, stage: int) -> None:
        super().__init__()
        self.window, self.poolings = config.stage_windows[stage], config.poolings[stage]
        self.heads, self.resize = config.heads[stage], config.query_resize
        self.mbconvs = nn.ModuleList(
            FusedMBConv(config.channels[stage], config.squeeze_excite) if config.query_convolutions else nn.Identity()
            for _ in range(config.query_mbconvs[stage])
        )

    def forward(self, x: Float[Tensor, "batch height width channels"]) -> Float[Tensor, "batch heads tokens head_dim"]:
        for layer, mbconv in enumerate(self.mbconvs):
            x = mbconv(x)
            if layer < self.poolings:
                x = as_nhwc(F.max_pool2d(as_nchw(x), 3, stride=2, padding=1))
        if x.shape[1:3] != self.window:
            x = resize(x, self.window, self.resize)
        return x.unflatten(-1, (self.heads, -1)).flatten(1, 2).transpose(1, 2)


def resize(
    x: Float[Tensor, "batch height width channels"], size: Pair, mode: Resize = "bicubic"
) -> Float[Tensor, "batch rows columns channels"]:
    """A map of another size. Each channel is an image of its own: some runtimes would move the turn to
    NCHW behind the resizing, which they then cannot do."""
    images = as_nchw(x).flatten(0, 1)[:, None]
    images = F.interpolate(images, size, mode=mode)
    return as_nhwc(images.unflatten(0, (x.shape[0], x.shape[3]))[:, :, 0]).contiguous()
