"""What a classifier says of a batch, seen once or together with its mirror image."""

from typing import Literal

import torch
from torch import Tensor, nn

TTA = Literal["none", "flip"]


def class_logits(model: nn.Module, images: Tensor, tta: TTA = "none") -> Tensor:
    """Logits (batch, classes) in fp32 of images (batch, 3, height, width).

    With `flip` their softmax is the mean of the image's and the mirror image's softmax: test-time augmentation.
    """
    logits = model(images).float()
    if tta == "none":
        return logits
    mirrored = model(images.flip(3)).float()
    # Up to log 2, which the softmax does not see.
    return torch.logaddexp(logits.log_softmax(1), mirrored.log_softmax(1))
