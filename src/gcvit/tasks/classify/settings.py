"""What a person may ask of a classifier: how it is shown pictures, and what is told of them."""

from dataclasses import dataclass
from typing import Annotated, Literal

from gcvit.engine.fields import Range, check_ranges, flag
from gcvit.model.config import MOST_CLASSES


@dataclass(frozen=True)
class ClassifyLooks:
    """How a classifier is shown a picture."""

    tta: Literal["none", "flip"] = "none"
    """flip: the mean of what the model says of the image and of its mirror image"""


@dataclass(frozen=True)
class ClassifyTelling:
    """What is told of a picture."""

    top_k: Annotated[int, Range(1, MOST_CLASSES)] = 5
    """how many classes to give for each image"""

    def __post_init__(self) -> None:
        """Raises UserError for what cannot be."""
        check_ranges(self, flag)
