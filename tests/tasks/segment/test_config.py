"""The segmentation config: every bad value is named."""

import pytest

from gcvit.engine.config import override
from gcvit.tasks.segment.config import SegmentConfig


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, not 0"),
        ({"resize": [16, 512]}, "resize must be at least 32 pixels"),
        ({"steps": 10}, r"warmup \(50 steps\) is longer than the run \(10 steps\)"),
        ({"optim": {"warmup": None}}, "'optim.warmup' must be a length with its unit"),
        ({"optim": {"cooldown": "1000 steps"}}, "together are longer than the run"),
        ({"head": {"norm": "layer"}}, "'head.norm' must be 'batch' or 'group'"),
        ({"head": {"channels": 0}}, "channels must be at least 1"),
        ({"head": {"bins": [1, 0]}}, "bins must be"),
        ({"head": {"dropout": 1.0}}, "dropout must be"),
        ({"head": {"aux_weight": -1.0}}, "aux_weight must be at least 0"),
        ({"augment": {"crop": [16, 64]}}, "crop must be at least 32 pixels a side"),
        ({"augment": {"cat_max_ratio": 0.0}}, "cat_max_ratio must be a share"),
        ({"augment": {"scale": [2.0, 0.5]}}, "scale must be two rising factors"),
        ({"eval_mode": "sliding"}, "'eval_mode' must be 'whole' or 'slide'"),
        ({"croop": 3}, "did you mean 'augment.crop'"),
    ],
)
def test_a_bad_value_is_named(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        override(SegmentConfig(), values)
