"""The networks that look into a box: what is in it, where exactly, and which pixels it covers (He et al., 2017,
Figure 4)."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gcvit.tasks.detect.settings import HeadConfig
from gcvit.tasks.pyramid import ConvNormReLU

BOX_CELLS, MASK_CELLS = 7, 14  # a side, of what is pooled
MASK_SIDE = 2 * MASK_CELLS
MASK_CONVS = 4


class BoxHead(nn.Module):
    """Convolutions, linear layers, and two outputs: logits of the classes with the background last, and for each class
    what leads from the box to the object."""

    def __init__(self, classes: int, config: HeadConfig) -> None:
        super().__init__()
        width, hidden = config.channels, config.hidden
        self.convs = nn.Sequential(*(ConvNormReLU(width, width, 3, config.norm) for _ in range(config.form.convs)))
        inputs = [width * BOX_CELLS**2, *[hidden] * (config.form.linears - 1)]
        self.linears = nn.ModuleList(nn.Linear(features, hidden) for features in inputs)
        self.classifier = nn.Linear(hidden, classes + 1)
        self.regressor = nn.Linear(hidden, 4 * classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.normal_(self.regressor.weight, std=0.001)

    def forward(
        self, x: Float[Tensor, "boxes channels 7 7"]
    ) -> tuple[Float[Tensor, "boxes classes+1"], Float[Tensor, "boxes classes 4"]]:
        x = self.convs(x).flatten(1)
        for linear in self.linears:
            x = F.relu(linear(x))
        return self.classifier(x), self.regressor(x).unflatten(1, (-1, 4))


class MaskHead(nn.Module):
    """Four convolutions, twice the resolution, and logits of each class, which do not compete."""

    def __init__(self, classes: int, config: HeadConfig) -> None:
        super().__init__()
        width = config.channels
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(MASK_CONVS))
        self.upsample = nn.ConvTranspose2d(width, width, 2, stride=2)
        self.classifier = nn.Conv2d(width, classes, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)
        nn.init.normal_(self.classifier.weight, std=0.01)  # by its fan-out, one class would start with logits of ±10

    def forward(self, x: Float[Tensor, "boxes channels 14 14"]) -> Float[Tensor, "boxes classes 28 28"]:
        for conv in self.convs:
            x = F.relu(conv(x))
        return self.classifier(F.relu(self.upsample(x)))
