"""Which classes are taken for which, in whole counts."""

import torch
from torch import Tensor


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
