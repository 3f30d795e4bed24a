"""The segmentation config: every bad value is named."""

import pytest

from gcvit.engine.config import override
from gcvit.tasks.segment.config import SegmentConfig


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, not 0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"eval_every": 0}, "eval_every must be at least 1"),
        ({"val_fraction": 1.0}, "val_fraction must be"),
        ({"drop_path": -0.1}, "drop_path must be"),
        ({"resize": [16, 512]}, "resize must be at least 32 pixels"),
        ({"pretrained": True, "weights": "x"}, "two starting points"),
        ({"steps": 10}, r"warmup_steps must be at most steps \(10\)"),
        ({"optim": {"warmup_steps": None}}, "warmup_steps must be a number"),
        ({"optim": {"cooldown_epochs": 1}}, "cooldown_epochs must be 0 for a run counted in steps"),
        ({"optim": {"warmup_epochs": 2}}, "which has warmup_steps"),
        ({"optim": {"schedule": "poly"}}, "'optim.schedule' must be 'cosine' or 'linear'"),
        ({"head": {"norm": "layer"}}, "'head.norm' must be 'batch' or 'group'"),
        ({"head": {"channels": 0}}, "channels must be at least 1"),
        ({"head": {"bins": [1, 0]}}, "bins must be"),
        ({"head": {"dropout": 1.0}}, "dropout must be"),
        ({"head": {"aux_weight": -1.0}}, "aux_weight must be at least 0"),
        ({"augment": {"crop": [16, 64]}}, "crop must be at least 32 pixels a side"),
        ({"augment": {"cat_max_ratio": 0.0}}, "cat_max_ratio must be a share"),
        ({"augment": {"scale": [2.0, 0.5]}}, "scale must be two rising factors"),
        ({"augment": {"hflip": 1.5}}, "hflip must be a probability"),
        ({"eval_mode": "sliding"}, "'eval_mode' must be 'whole' or 'slide'"),
        ({"croop": 3}, "did you mean 'augment.crop'"),
    ],
)
def test_a_bad_value_is_named(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        override(SegmentConfig(), values)
