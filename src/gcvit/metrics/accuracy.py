"""Top-1 and top-5 accuracy, overall and per class, from integer counts."""

import torch
from torch import Tensor


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
        if not self.images:
            raise ValueError("no images were evaluated, so there is no accuracy")
        shares = [share for share in self.per_class if share is not None]
        return sum(shares) / len(shares)

    def _share(self, column: int) -> float:
        if not self.images:
            raise ValueError("no images were evaluated, so there is no accuracy")
        return int(self.counts[:, column].sum()) / self.images
