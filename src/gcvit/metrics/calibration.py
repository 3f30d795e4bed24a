"""Whether a classifier is right as often as it is sure: reliability in bins and its expected error."""

import torch
from torch import Tensor

BINS = 15


class Calibration:
    """Images by how sure the model was of its first guess, in bins of equal width (Guo et al., 2017).

    Bin m of M holds the confidences above (m - 1)/M up to m/M. From all images at once, in one order, so that the
    result does not depend on how processes shared them out.

    Args:
        confidence: (images,) of the first guess, 0 … 1.
        right: (images,) bool, whether that guess is the image's class.

    Attributes:
        images, hits: int64 (bins,), images and right guesses in each bin.
        confidence: float64 (bins,), sum of the confidences in each bin.
    """

    def __init__(self, confidence: Tensor, right: Tensor, bins: int = BINS) -> None:
        confidence = confidence.double()
        edges = torch.arange(1, bins, dtype=torch.float64) / bins
        at = torch.bucketize(confidence, edges)
        self.images = torch.bincount(at, minlength=bins)
        self.hits = torch.bincount(at[right], minlength=bins)
        self.confidence = torch.bincount(at, weights=confidence, minlength=bins)

    @property
    def error(self) -> float:
        """The expected calibration error (ECE), 0 … 1: |share right − mean confidence|, weighted by images.

        Raises ValueError without images.
        """
        images = int(self.images.sum())
        if not images:
            raise ValueError("no images were evaluated, so there is no calibration error")
        return (self.hits - self.confidence).abs().sum().item() / images
