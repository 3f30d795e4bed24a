"""The global query generator (section 2.1, Figure 5, Eq. 2)."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gcvit.model.config import Pair
from gcvit.model.layers import FusedMBConv, as_nchw, as_nhwc


class GlobalQuery(nn.Module):
    """One window of query tokens that stands for the whole image, computed once per stage from the stage's input.

    Each layer is a fused MBConv followed, for the first `poolings` of them, by a 3×3 max-pooling of stride 2. Where
    the pooled map is not as large as the window, it is resized to it, bicubically, as in the published dense code.
    """

    def __init__(self, channels: int, heads: int, window: Pair, mbconvs: int, poolings: int) -> None:
        super().__init__()
        self.heads, self.window, self.poolings = heads, window, poolings
        self.mbconvs = nn.ModuleList(FusedMBConv(channels) for _ in range(mbconvs))

    def forward(self, x: Float[Tensor, "batch height width channels"]) -> Float[Tensor, "batch heads tokens head_dim"]:
        for layer, mbconv in enumerate(self.mbconvs):
            x = mbconv(x)
            if layer < self.poolings:
                x = as_nhwc(F.max_pool2d(as_nchw(x), 3, stride=2, padding=1))
        if x.shape[1:3] != self.window:
            x = as_nhwc(F.interpolate(as_nchw(x), self.window, mode="bicubic", align_corners=False))
        return x.unflatten(-1, (self.heads, -1)).flatten(1, 2).transpose(1, 2)
