"""What an evaluation says of a classifier: accuracy, calibration and confusions, from whole counts."""

import torch
from torch import Tensor

BINS = 15  # of confidence


class Accuracy:
    """Counts, per class, of images and of those whose class is the first or among the first five.

    counts: int64 of (classes, 3): images, top-1 hits, top-5 hits. Sums of counts are counts: batches of any
    size, or the shares of several processes, add up to the exact result.
    """

    def __init__(self, classes: int, device: torch.device | str = "cpu") -> None:
        self.counts = torch.zeros(classes, 3, dtype=torch.int64, device=device)

    def update(self, guesses: Tensor, labels: Tensor) -> None:
        """Add a batch: guesses (batch, up to 5), the likeliest class first, labels (batch,) from 0.

        Does not wait for the device.
        """
        hits = guesses == labels[:, None]
        seen = torch.stack([torch.ones_like(labels, dtype=torch.bool), hits[:, 0], hits.any(1)], dim=1)
        self.counts.index_add_(0, labels, seen.long())

    @property
    def classes(self) -> int:
        """Number of classes, with or without images."""
        return len(self.counts)

    @property
    def images(self) -> int:
        """Number of images counted."""
        return int(self.counts[:, 0].sum())

    @property
    def hits(self) -> int:
        """Number of images whose class is the first guess."""
        return int(self.counts[:, 1].sum())

    @property
    def top1(self) -> float:
        """Share of images, 0 … 1, whose class is the first guess. Raises ValueError without images."""
        return self._share(1)

    @property
    def top5(self) -> float:
        """Share of images, 0 … 1, whose class is among the five guesses; 1 for up to five classes."""
        return self._share(2)

    @property
    def per_class(self) -> list[float | None]:
        """Top-1 share of each class; None for a class without images."""
        return [hits / images if images else None for images, hits, _ in self.counts.tolist()]

    @property
    def mean_per_class(self) -> float:
        """Mean of the top-1 shares of the classes that have images, each class weighing the same."""
        shares = [share for share in self.per_class if share is not None]
        return sum(shares) / self._some(len(shares))

    def _share(self, column: int) -> float:
        return int(self.counts[:, column].sum()) / self._some(self.images)

    def _some(self, number: int) -> int:
        """What is divided by, of images or of classes that have any."""
        if not number:
            raise ValueError("no images were evaluated, so there is no accuracy")
        return number


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


def confusion_matrix(labels: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Number of images of class i that were taken for class j, int64 (classes, classes).

    labels, predicted: (images,) int64, from 0 to below `classes`.
    """
    return torch.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def most_confused(labels: Tensor, predicted: Tensor, count: int) -> list[tuple[int, int, int]]:
    """Up to `count` (class, class that it was taken for, images), the most frequent first, then by class.

    Only mistakes count. Needs no matrix, so it works for any number of classes.
    """
    wrong = labels != predicted
    pairs, images = torch.stack([labels[wrong], predicted[wrong]], 1).unique(dim=0, return_counts=True)
    first = images.argsort(descending=True, stable=True)[:count]
    return [(truth, guess, n) for (truth, guess), n in zip(pairs[first].tolist(), images[first].tolist(), strict=True)]
