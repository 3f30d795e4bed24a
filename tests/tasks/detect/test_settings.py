import pytest

from gcvit.errors import UserError
from gcvit.tasks.detect.settings import HeadConfig


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("head", "yolo"),
        ("norm", "layer"),
        ("proposals", 0),
        ("min_score", 1.5),
        ("nms", float("nan")),
        ("detections", 10**9),
        ("anchor_scale", 0.0),
        ("train_proposals", -1),
        ("masks", 1),
    ],
)
def test_values_out_of_range_are_named(name: str, value: object) -> None:
    with pytest.raises(UserError, match=name):
        HeadConfig(**{name: value})  # type: ignore[arg-type]
