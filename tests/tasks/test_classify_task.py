"""The loss: weights of classes, mixing and smoothing, each against an independent account of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from timm.data import Mixup
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from gcvit.engine.loop import seed_everything
from gcvit.tasks.classify import AugmentConfig
from gcvit.tasks.classify.task import ClassifyTask, balanced_weights
from gcvit.weights.preprocessing import Preprocessing

CLASSES = 5
WEIGHTS = torch.tensor([0.2, 3.0, 1.0, 0.5, 2.0])
LABELS = torch.tensor([0, 1, 1, 4, 2, 3, 3, 1])
IMAGES = torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def a_model() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.Linear(108, CLASSES))


def a_task(augment: AugmentConfig, class_weights: Tensor | None = None) -> ClassifyTask:
    loaders: Any = None  # the loss needs none
    names, cpu = [str(label) for label in range(CLASSES)], torch.device("cpu")
    return ClassifyTask(loaders, loaders, names, Preprocessing(), augment, cpu, "fp32", class_weights)


def loss(task: ClassifyTask, images: Tensor = IMAGES, labels: Tensor = LABELS) -> Tensor:
    seed_everything(7)
    return task.loss(a_model(), (images.clone(), labels))


@given(st.lists(st.integers(0, 6), min_size=2, max_size=60).filter(lambda labels: len(set(labels)) > 1))
def test_balanced_weights_are_sklearns_and_one_on_average(labels: Sequence[int]) -> None:
    weights = balanced_weights(labels, 7)
    present = np.unique(labels)
    expected = compute_class_weight("balanced", classes=present, y=np.array(labels))
    assert weights[present].numpy() == pytest.approx(expected, rel=1e-6)
    assert weights[labels].mean().item() == pytest.approx(1.0, rel=1e-6)
    assert weights.isfinite().all()
    assert weights[[label for label in range(7) if label not in labels]].sum() == 0


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_an_image_counts_as_its_class_does(smoothing: float) -> None:
    task = a_task(AugmentConfig(label_smoothing=smoothing), WEIGHTS)
    logs = log_softmax(a_model()(IMAGES), 1)
    own = -logs[torch.arange(8), LABELS]
    each = (1 - smoothing) * own + smoothing * -logs.mean(1)
    torch.testing.assert_close(loss(task), (WEIGHTS[LABELS] * each).mean())


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize(("mixup", "cutmix"), [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)])
def test_a_mixed_image_counts_as_its_parts_do(mixup: float, cutmix: float, weights: Tensor | None) -> None:
    task = a_task(AugmentConfig(mixup=mixup, cutmix=cutmix, label_smoothing=0.1), weights)
    seed_everything(7)
    settings = {"mixup_alpha": mixup, "cutmix_alpha": cutmix, "num_classes": CLASSES}
    images, smooth = Mixup(**settings, label_smoothing=0.1)(IMAGES.clone(), LABELS)
    assert not torch.equal(images, IMAGES)
    share = ((smooth - 0.1 / CLASSES) / 0.9)[torch.arange(8), LABELS].clamp(max=1)  # of the first of the two
    alone = LABELS.flip(0) == LABELS
    share = torch.where(alone, 1.0, share)
    counts = torch.ones(8) if weights is None else share * weights[LABELS] + (1 - share) * weights[LABELS.flip(0)]
    expected = (counts * -(smooth * log_softmax(a_model()(images), 1)).sum(1)).mean()
    torch.testing.assert_close(loss(task), expected)


def test_equal_weights_change_nothing_and_none_are_given_for_equal_classes() -> None:
    augment = AugmentConfig(mixup=0.8, cutmix=1.0)
    ones = balanced_weights(list(range(CLASSES)) * 3, CLASSES)
    torch.testing.assert_close(ones, torch.ones(CLASSES))
    torch.testing.assert_close(loss(a_task(augment, ones)), loss(a_task(augment)))


def test_parts_of_a_batch_add_up_to_the_whole() -> None:
    """So an update means the same, however many processes and passes share it."""
    task = a_task(AugmentConfig(), WEIGHTS)
    parts = [loss(task, IMAGES[chosen], LABELS[chosen]) for chosen in (slice(0, 4), slice(4, 8))]
    torch.testing.assert_close(loss(task), torch.stack(parts).mean())
