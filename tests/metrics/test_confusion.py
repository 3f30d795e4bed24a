"""Confusion against scikit-learn, and pairs against the matrix."""

import numpy as np
import torch
from sklearn.metrics import confusion_matrix as theirs

from gcvit.metrics import confusion_matrix, most_confused

GENERATOR = torch.Generator().manual_seed(0)
LABELS, PREDICTED = (torch.randint(7, (300,), generator=GENERATOR) for _ in range(2))


def test_equal_to_scikit_learn() -> None:
    ours = confusion_matrix(LABELS, PREDICTED, 9)  # two classes without images
    assert ours.dtype == torch.int64
    assert np.array_equal(ours.numpy(), theirs(LABELS.numpy(), PREDICTED.numpy(), labels=np.arange(9)))


def test_pairs_are_the_largest_cells_off_the_diagonal() -> None:
    matrix = confusion_matrix(LABELS, PREDICTED, 7).fill_diagonal_(0)
    pairs = most_confused(LABELS, PREDICTED, 1000)
    assert sum(images for *_, images in pairs) == int(matrix.sum())
    assert all(matrix[truth, guess] == images and truth != guess for truth, guess, images in pairs)
    assert [images for *_, images in pairs] == sorted((int(n) for n in matrix.flatten() if n), reverse=True)
    assert most_confused(LABELS, PREDICTED, 3) == pairs[:3]


def test_ties_are_in_the_order_of_the_classes() -> None:
    assert most_confused(torch.tensor([2, 1, 1, 0]), torch.tensor([0, 0, 2, 0]), 9) == [(1, 0, 1), (1, 2, 1), (2, 0, 1)]


def test_no_mistakes_and_no_images() -> None:
    assert most_confused(LABELS, LABELS, 5) == []
    assert most_confused(LABELS[:0], LABELS[:0], 5) == []
    assert confusion_matrix(LABELS[:0], LABELS[:0], 2).tolist() == [[0, 0], [0, 0]]
