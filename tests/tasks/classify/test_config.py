"""The classification config: every bad value is named."""

from dataclasses import replace

import pytest

from gcvit.engine.config import override
from gcvit.tasks.classify import ClassifyConfig


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"crop_pct": 1.5}, "crop_pct must be above 0, at most 1"),
        ({"batch_size": 7, "augment": {"mixup": 0.1}}, "batch_size must be even, because mixup"),
        ({"epochs": 3, "optim": {"warmup": "2 epochs", "cooldown": "2 epochs"}}, r"longer than the run \(3 epochs\)"),
        ({"class_weights": "equal"}, "'class_weights' must be 'none' or 'balanced'"),
        ({"augment": {"scale": [0.5, 0.1]}}, "scale must be two rising shares"),
        ({"augment": {"rand_augment": "m9"}}, "rand_augment must be like rand-m9"),
        ({"augment": {"rand_augment": "rand-x9"}}, "rand_augment must be like rand-m9"),
        ({"augment": {"mixop": 0.2}}, "did you mean 'augment.mixup'"),
    ],
)
def test_a_bad_value_is_named(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        override(ClassifyConfig(), values)


def test_mixing_can_be_switched_off_for_odd_batches() -> None:
    config = override(ClassifyConfig(), {"batch_size": 7, "augment": {"mixup": 0.1, "mix_prob": 0.0}})
    assert not config.augment.mixes
    assert replace(config, batch_size=8).augment == config.augment
