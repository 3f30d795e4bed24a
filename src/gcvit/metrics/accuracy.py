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

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: logits (batch, classes), labels (batch,) from 0. Does not wait for the device."""
        guesses = logits.topk(min(5, logits.shape[1]), dim=1).indices
        hits = guesses == labels[:, None]
        seen = torch.stack([torch.ones_like(labels, dtype=torch.bool), hits[:, 0], hits.any(1)], dim=1)
        self.counts.index_add_(0, labels, seen.long())

    @property
    def images(self) -> int:
        """Number of images counted."""
        return int(self.counts[:, 0].sum())

    @property
    def top1(self) -> float:
        """Share of images, 0 … 1, whose class has the highest logit. Raises ValueError without images."""
        return self._share(1)

    @property
    def top5(self) -> float:
        """Share of images, 0 … 1, whose class is among the five highest logits; 1 for up to five classes."""
        return self._share(2)

    @property
    def per_class(self) -> list[float | None]:
        """Top-1 share of each class; None for a class without images."""
        return [hits / images if images else None for images, hits, _ in self.counts.tolist()]

    def _share(self, column: int) -> float:
        if not self.images:
            raise ValueError("no images were evaluated, so there is no accuracy")
        return int(self.counts[:, column].sum()) / self.images
