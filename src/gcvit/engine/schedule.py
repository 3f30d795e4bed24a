"""Lengths within a run, with their unit: "500 steps", "2.5 epochs", "5%" of the run; and the learning rate as a pure
function of the step: linear warm-up; cosine, straight line or steps; flat cool-down."""

import re
from collections.abc import Sequence
from math import cos, pi
from typing import Annotated, Literal, NamedTuple

from gcvit.engine.fields import Means
from gcvit.errors import UserError, shown

LENGTH = "a length with its unit, such as '500 steps', '2.5 epochs' or '5%' of the run"
MOST = 1_000_000_000
PATTERN = re.compile(r"\s*(\d{1,10}(?:\.\d{0,20})?(?:e[+-]?\d{1,3})?)\s*(steps?|epochs?|%)\s*", re.ASCII)

LengthText = Annotated[str, Means(LENGTH)]
"""The type of a field of a configuration; `parse_length` reads it."""

Shape = Literal["cosine", "linear", "steps"]
STEP = 10.0  # the rate is divided by it at each milestone


class Length(NamedTuple):
    """unit: "step", "epoch" or "%"."""

    number: float
    unit: str

    def __str__(self) -> str:
        """As `parse_length` reads it; nothing has one name."""
        if not self.number:
            return "0 steps"
        number = f"{self.number:.15g}"
        return f"{number}%" if self.unit == "%" else f"{number} {self.unit}{'' if self.number == 1 else 's'}"

    def share(self, *, steps: float | None, epochs: float | None) -> float | None:
        """The share of a run that has so many steps and epochs; None where its own length in this unit is unknown."""
        whole = {"step": steps, "epoch": epochs, "%": 100}[self.unit]
        return None if whole is None else self.number / whole


def parse_length(key: str, text: str) -> Length:
    """Read a length, 0 to 1,000,000,000. Raises UserError, naming the setting `key`, for what is none."""
    found = PATTERN.fullmatch(text) if len(text) < 50 else None
    if found is None or float(found[1]) > MOST:
        raise UserError(f"{key} must be {LENGTH}, not {shown(text)}")
    return Length(float(found[1]), found[2].removesuffix("s"))


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
