"""The learning rate as a pure function of the step: linear warm-up, cosine or straight line, flat cool-down."""

from math import cos, pi
from typing import Literal

Shape = Literal["cosine", "linear"]


def learning_rate(
    step: int,
    *,
    steps: int,
    peak: float,
    warmup_steps: int = 0,
    start: float = 1e-6,
    floor: float = 5e-6,
    shape: Shape = "cosine",
) -> float:
    """The learning rate of step 0, 1, …; of the first `warmup_steps`, linear from `start` towards `peak`.

    The cosine counts from step 0 over `steps` steps, warm-up included, so it takes over a little below
    `peak`: this is how the published classifiers were trained. From `steps` on the rate stays at `floor`.
    A linear fall ("poly" of power 1) counts from step 0 too, and warm-up is a factor on it: this is how segmentation
    models are trained.
    """
    assert steps > 0, "nothing is left of the run beside its cool-down"
    if shape == "linear":
        rate = floor + (peak - floor) * max(1 - step / steps, 0)
        if step >= warmup_steps:
            return rate
        return rate * (start + (peak - start) * step / warmup_steps) / peak
    if step < warmup_steps:
        return start + (peak - start) * step / warmup_steps
    if step >= steps:
        return floor
    return floor + (peak - floor) * (1 + cos(pi * step / steps)) / 2
