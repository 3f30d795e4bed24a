"""The loss: weights of classes, mixing and smoothing, each against an independent account of it."""

from collections.abc import Sequence
from typing import Any, cast

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
from gcvit.tasks.classify import AugmentConfig, ClassifyConfig
from gcvit.tasks.classify.loss import ClassifyLoss, balanced_weights
from gcvit.tasks.task import Data
from gcvit.tasks.train import make_plan

CLASSES = 5
WEIGHTS = torch.tensor([0.2, 3.0, 1.0, 0.5, 2.0])
LABELS = torch.tensor([0, 1, 1, 4, 2, 3, 3, 1])
IMAGES = torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def a_model() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.Linear(108, CLASSES))


def a_loss(augment: AugmentConfig, class_weights: Tensor | None = None) -> ClassifyLoss:
    config, none = ClassifyConfig(batch_size=8, augment=augment), cast(Any, [])
    data = Data(none, none, "no pictures", [str(label) for label in range(CLASSES)])
    loss = ClassifyLoss(config, data, make_plan(config, 8, torch.device("cpu")))
    loss.class_weights = class_weights
    return loss


def of(loss: ClassifyLoss, images: Tensor = IMAGES, labels: Tensor = LABELS) -> Tensor:
    seed_everything(7)
    (part,) = loss(a_model(), (images.clone(), labels)).values()
    return part


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
    loss = a_loss(AugmentConfig(label_smoothing=smoothing), WEIGHTS)
    logs = log_softmax(a_model()(IMAGES), 1)
    own = -logs[torch.arange(8), LABELS]
    each = (1 - smoothing) * own + smoothing * -logs.mean(1)
    torch.testing.assert_close(of(loss), (WEIGHTS[LABELS] * each).mean())


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize(("mixup", "cutmix"), [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)])
def test_a_mixed_image_counts_as_its_parts_do(mixup: float, cutmix: float, weights: Tensor | None) -> None:
    loss = a_loss(AugmentConfig(mixup=mixup, cutmix=cutmix, label_smoothing=0.1), weights)
    seed_everything(7)
    settings = {"mixup_alpha": mixup, "cutmix_alpha": cutmix, "num_classes": CLASSES}
    images, smooth = Mixup(**settings, label_smoothing=0.1)(IMAGES.clone(), LABELS)
    assert not torch.equal(images, IMAGES)
    share = ((smooth - 0.1 / CLASSES) / 0.9)[torch.arange(8), LABELS].clamp(max=1)  # of the first of the two
    alone = LABELS.flip(0) == LABELS
    share = torch.where(alone, 1.0, share)
    counts = torch.ones(8) if weights is None else share * weights[LABELS] + (1 - share) * weights[LABELS.flip(0)]
    expected = (counts * -(smooth * log_softmax(a_model()(images), 1)).sum(1)).mean()
    torch.testing.assert_close(of(loss), expected)


def test_equal_weights_change_nothing_and_none_are_given_for_equal_classes() -> None:
    augment = AugmentConfig(mixup=0.8, cutmix=1.0)
    ones = balanced_weights(list(range(CLASSES)) * 3, CLASSES)
    torch.testing.assert_close(ones, torch.ones(CLASSES))
    torch.testing.assert_close(of(a_loss(augment, ones)), of(a_loss(augment)))


def test_parts_of_a_batch_add_up_to_the_whole() -> None:
    """So an update means the same, however many processes and passes share it."""
    loss = a_loss(AugmentConfig(), WEIGHTS)
    parts = [of(loss, IMAGES[chosen], LABELS[chosen]) for chosen in (slice(0, 4), slice(4, 8))]
    torch.testing.assert_close(of(loss), torch.stack(parts).mean())


def test_balanced_weights_are_those_of_the_training_images() -> None:
    """Also where a class has none."""

    class Labelled(list):
        def label(self, index: int) -> int:
            return self[index]

    images: Any = Labelled([0, 0, 0, 2])
    config = ClassifyConfig(batch_size=4, class_weights="balanced")
    data = Data(images, images, "pictures", ["a", "b", "c"])
    loss = ClassifyLoss(config, data, make_plan(config, 4, torch.device("cpu")))
    assert loss.class_weights is not None
    torch.testing.assert_close(loss.class_weights, torch.tensor([2 / 3, 0.0, 2.0]))


def test_images_that_are_mixed_in_pairs_must_be_even_in_each_part() -> None:
    config = ClassifyConfig(batch_size=12, accumulate=4, augment=AugmentConfig(mixup=0.5))
    data = Data(cast(Any, []), cast(Any, []), "no pictures", ["a", "b"])
    with pytest.raises(ValueError, match=r"gives 3 to each of 1 processes × 4 passes; make it a multiple of 8"):
        ClassifyLoss(config, data, make_plan(config, 12, torch.device("cpu")))
