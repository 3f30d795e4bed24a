"""The learning rate as a pure function of the step: linear warm-up; cosine, straight line or steps; flat cool-down."""

from collections.abc import Sequence
from math import cos, pi
from typing import Literal

Shape = Literal["cosine", "linear", "steps"]
STEP = 10.0  # the rate is divided by it at each milestone


def learning_rate(
    step: int,
    *,
    steps: int,
    peak: float,
    warmup_steps: int = 0,
    start: float = 1e-6,
    floor: float = 5e-6,
    shape: Shape = "cosine",
    milestones: Sequence[int] = (),
) -> float:
    """The learning rate of step 0, 1, …; of the first `warmup_steps`, linear from `start` towards `peak`.

    It is never above `peak`: `start` and `floor` count as `peak` where they are. From `steps` on it stays at `floor`.

    The cosine counts from step 0 over `steps` steps, warm-up included, so it takes over a little below
    `peak`: this is how the published classifiers were trained.
    A linear fall ("poly" of power 1) counts from step 0 too, and warm-up is a factor on it: this is how segmentation
    models are trained.
    In steps, it is a tenth from each of the `milestones` on, never below `floor`, and warm-up is a factor on it too:
    this is how detectors are trained. Without a flat end of the run, `steps`, which is no step of it, is not reached.
    """
    start, floor = min(start, peak), min(floor, peak)
    if shape == "cosine":
        if step < warmup_steps:
            rate = start + (peak - start) * step / warmup_steps
        else:
            rate = floor + (peak - floor) * (1 + cos(pi * min(step, steps) / steps)) / 2
        return min(rate, peak)  # a sum may round up
    if shape == "linear":
        rate = floor + (peak - floor) * max(1 - step / steps, 0)
    else:
        passed = sum(step >= milestone for milestone in milestones)
        rate = max(peak / STEP**passed, floor) if step < steps else floor
    if step < warmup_steps:
        rate = rate * (start + (peak - start) * step / warmup_steps) / peak
    return min(rate, peak)
