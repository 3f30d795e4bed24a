"""The objects in a picture: those that are there, and those that a model finds."""

from dataclasses import dataclass, replace
from typing import NamedTuple

from jaxtyping import Bool, Float, Int
from torch import Tensor

from gcvit.tasks.detect.boxes import Boxes, has_area


@dataclass(frozen=True)
class Targets:
    """What is true of a picture; all of it lies on the model's device.

    boxes: in the picture's pixels as the model sees it, x from left, y from top, a pixel is 1 wide.
    labels: 0 to classes - 1.
    masks: where each object is; None: nobody knows, for a model without masks.
    seed: of what is drawn at random for this picture. A function of the run's seed, the step and the picture, so that
        a run that goes on draws the same.
    """

    boxes: Boxes
    labels: Int[Tensor, "objects"]  # noqa: F821
    masks: Bool[Tensor, "objects height width"] | None = None
    seed: int = 0

    def with_area(self) -> "Targets":
        """Without the objects that no box could match: those of no width or no height."""
        kept = has_area(self.boxes)
        if kept.all():
            return self
        masks = None if self.masks is None else self.masks[kept]
        return replace(self, boxes=self.boxes[kept], labels=self.labels[kept], masks=masks)


class Detections(NamedTuple):
    """What a model finds in a picture, the surest first.

    boxes: in the pixels of the picture as the model saw it, within it. scores: 0 to 1. labels: 0 to classes - 1.
    masks: probabilities of the object over its box, cut into 28×28 cells (`gcvit.tasks.detect.pasting`); None from a
    model without masks.
    """

    boxes: Boxes
    scores: Float[Tensor, "detections"]  # noqa: F821
    labels: Int[Tensor, "detections"]  # noqa: F821
    masks: Float[Tensor, "detections 28 28"] | None
