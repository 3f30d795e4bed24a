"""The loss of segmentation: cross-entropy of every pixel."""

from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from gcvit.data.label_maps import IGNORED

Batch = tuple[Tensor, Tensor]


class SegmentLoss:
    """Softmax classification of every pixel. aux_weight: of the auxiliary head's loss."""

    def __init__(self, aux_weight: float) -> None:
        self.aux_weight = aux_weight

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Batches are crops (batch, channels, h, w) and labels (batch, h, w)."""
        images, labels = batch
        output = model(images)
        loss = {"pixels": pixel_loss(output.logits, labels)}
        if output.auxiliary is not None:
            loss["auxiliary"] = self.aux_weight * pixel_loss(output.auxiliary, labels)
        return loss


def pixel_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of logits (batch, classes, any size), resized to the labels' (batch, h, w), over all their pixels.

    Ignored pixels add nothing but count in the mean, as in published training: so it is finite, 0, where all are
    ignored, and each part of an update adds what it would in the whole.
    """
    logits = interpolate(logits, labels.shape[-2:], mode="bilinear", align_corners=False)
    return cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum") / labels.numel()
