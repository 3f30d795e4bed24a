"""Lengths within a run, with their unit: "500 steps", "2.5 epochs", "5%" of the run."""

import re
from typing import Annotated, NamedTuple

from gcvit.engine.fields import Means
from gcvit.errors import UserError, shown

LENGTH = "a length with its unit, such as '500 steps', '2.5 epochs' or '5%' of the run"
MOST = 1_000_000_000
PATTERN = re.compile(r"\s*(\d{1,10}(?:\.\d{0,20})?(?:e[+-]?\d{1,3})?)\s*(steps?|epochs?|%)\s*", re.ASCII)

LengthText = Annotated[str, Means(LENGTH)]
"""The type of a field of a configuration; `parse_length` reads it."""


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
