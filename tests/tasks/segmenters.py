"""A small segmenter in which every number matters, batch norms' statistics included."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from gcvit.model import GCViT
from gcvit.tasks.segment.inference import Size, _by_classes, look
from gcvit.tasks.segment.segmenter import Segmenter
from gcvit.tasks.segment.settings import Looks, UPerNetConfig
from laws.models import SMALL
from laws.weights import meaningful_weights

HEAD = UPerNetConfig(channels=12, bins=(1, 2, 3, 6), dropout=0.3, aux_channels=6)
CLASSES = 5
WHOLE = Looks()


def segment_logits(model: nn.Module, images: Tensor, size: Size, looks: Looks = WHOLE) -> Tensor:
    """Logits of images at `size`, of all classes at once; of several views the logarithms of their mean softmax."""
    return torch.cat([logits for _, logits in _by_classes(look(model, images, looks), size)], dim=1)


def matter(model: nn.Module, seed: int = 0) -> nn.Module:
    """Fill parameters and batch norms' statistics; returns the model in float64 and eval mode."""
    model = meaningful_weights(model.double(), seed)
    generator = torch.Generator().manual_seed(seed + 1)
    for name, statistic in model.named_buffers():
        if name.endswith("running_mean"):
            statistic.copy_(0.5 * torch.randn(statistic.shape, generator=generator))
        elif name.endswith("running_var"):
            statistic.copy_(0.5 + torch.rand(statistic.shape, generator=generator))
    return model.eval()


def segmenter(seed: int = 0, **head: object) -> Segmenter:
    """On the backbone of the model's laws: several windows in every stage, and remainders."""
    model = Segmenter(GCViT(replace(SMALL, head=False)), CLASSES, replace(HEAD, **head))  # type: ignore[arg-type]
    found = matter(model, seed)
    assert isinstance(found, Segmenter)
    return found
