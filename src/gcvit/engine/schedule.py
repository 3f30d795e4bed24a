"""The learning rate as a pure function of the step: linear warm-up, cosine, flat cool-down."""

from math import cos, pi


def learning_rate(
    step: int, *, steps: int, peak: float, warmup_steps: int = 0, start: float = 1e-6, floor: float = 5e-6
) -> float:
    """The learning rate of step 0, 1, …; of the first `warmup_steps`, linear from `start` towards `peak`.

    The cosine counts from step 0 over `steps` steps, warm-up included, so it takes over a little below
    `peak`: this is how the published models were trained. From `steps` on the rate stays at `floor`.
    """
    if step < warmup_steps:
        return start + (peak - start) * step / warmup_steps
    if step >= steps:
        return floor
    return floor + (peak - floor) * (1 + cos(pi * step / steps)) / 2
