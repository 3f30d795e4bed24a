"""Accuracy against scikit-learn, and the law that counts add up however the images are shared out."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import recall_score, top_k_accuracy_score

from gcvit.metrics import Accuracy


def scores(seed: int, images: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (images,), generator=generator)
    logits = torch.randn(images, classes, generator=generator)
    logits[torch.arange(images), labels] += 1  # so that neither everything nor nothing is right
    return logits, labels


def counted(batches: list[tuple[torch.Tensor, torch.Tensor]], classes: int) -> Accuracy:
    accuracy = Accuracy(classes)
    for logits, labels in batches:
        accuracy.update(logits.topk(min(5, classes), dim=1).indices, labels)
    return accuracy


@pytest.mark.parametrize("classes", [6, 10, 50])
def test_equal_to_scikit_learn(classes: int) -> None:
    logits, labels = scores(classes, 400, classes)
    accuracy = counted([(logits, labels)], classes)
    for k, ours in ((1, accuracy.top1), (5, accuracy.top5)):
        theirs = top_k_accuracy_score(labels.numpy(), logits.numpy(), k=k, labels=np.arange(classes))
        assert ours == pytest.approx(theirs, abs=1e-12)
        assert 0.05 < ours < 1
    recall = recall_score(labels.numpy(), logits.argmax(1).numpy(), average=None, labels=np.arange(classes))
    assert accuracy.per_class == pytest.approx(list(recall))
    assert accuracy.mean_per_class == pytest.approx(recall.mean())


@given(cuts=st.lists(st.integers(0, 60), max_size=6), shares=st.integers(1, 3))
@settings(max_examples=30)
def test_uneven_batches_and_shares_add_up_exactly(cuts: list[int], shares: int) -> None:
    logits, labels = scores(0, 60, 7)
    edges = sorted({0, 60, *cuts})
    batches = [(logits[a:b], labels[a:b]) for a, b in itertools.pairwise(edges)]
    processes = [counted(batches[start::shares], 7) for start in range(shares)]
    together = Accuracy(7)
    together.counts = torch.stack([process.counts for process in processes]).sum(0)
    assert torch.equal(together.counts, counted([(logits, labels)], 7).counts)
    assert together.counts.dtype == torch.int64


def test_a_class_without_images_has_no_share_and_no_weight() -> None:
    accuracy = counted([(torch.eye(3)[[0, 0, 2]], torch.tensor([0, 0, 0]))], 3)
    assert accuracy.per_class == [2 / 3, None, None]
    assert (accuracy.images, accuracy.hits, accuracy.top1, accuracy.top5) == (3, 2, 2 / 3, 1.0)
    assert accuracy.mean_per_class == 2 / 3


def test_no_images_is_an_error_and_not_zero() -> None:
    with pytest.raises(ValueError, match="no images"):
        _ = Accuracy(3).top1
