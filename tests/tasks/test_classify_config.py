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
        ({"val_fraction": 0.0}, "val_fraction must be"),
        ({"drop_path": 1.0}, "drop_path must be"),
        ({"pretrained": True, "weights": "x"}, "two starting points"),
        ({"batch_size": 7, "augment": {"mixup": 0.1}}, "batch_size must be even, because mixup"),
        ({"epochs": 3, "optim": {"warmup_epochs": 2, "cooldown_epochs": 2}}, r"\(2\) are more than epochs \(3\)"),
        ({"optim": {"lr": float("nan")}}, "lr must be above 0, not nan"),
        ({"optim": {"clip_grad": 0}}, "clip_grad must be above 0"),
        ({"optim": {"betas": [0.9, 1.0]}}, "betas must be two numbers"),
        ({"optim": {"ema_decay": 1.0}}, "ema_decay must be"),
        ({"optim": {"lr_batch": 0}}, "lr_batch must be at least 1"),
        ({"optim": {"layer_decay": 0}}, "layer_decay must be above 0"),
        ({"freeze_stages": 5}, "freeze_stages must be from 0 to 4"),
        ({"class_weights": "equal"}, "'class_weights' must be 'none' or 'balanced'"),
        ({"bad_images": "ignore"}, "'bad_images' must be 'error' or 'skip'"),
        ({"max_bad_images": 2}, "max_bad_images must be a share"),
        ({"augment": {"hflip": 2}}, "hflip must be a probability"),
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
