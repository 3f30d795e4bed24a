"""Segmentation models on disk, and how their pictures are prepared."""

from dataclasses import dataclass

from gcvit.data.pixels import PixelFormat
from gcvit.errors import require
from gcvit.model.config import LARGEST_SIDE, Pair
from gcvit.tasks.headed import check_statistics
from gcvit.weights.preprocessing import IMAGENET_MEAN, IMAGENET_STD


@dataclass(frozen=True)
class ScenePreprocessing:
    """How a model's pictures are prepared.

    resize: (long, short) limits in pixels, keeping the shape; None: as they are.
    crop: (height, width) in pixels of what it was trained on, and of the window of sliding inference.
    mean, std: per channel, of values in 0..1; as many as the pictures have channels.
    value_range: the numbers in picture files that are black and white; None: 0 and the greatest of their type.
    """

    resize: tuple[int, int] | None = None
    crop: Pair = (512, 512)
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    value_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Raises UserError, naming the field, for a value out of range."""
        for key, sides in (("resize", self.resize or (1, 1)), ("crop", self.crop)):
            fits = min(sides) >= 1 and max(sides) <= LARGEST_SIDE
            require(fits, key, sides, f"from 1 to {LARGEST_SIDE} pixels a side")
        check_statistics(self.mean, self.std)
        PixelFormat(len(self.mean), self.value_range)  # refuses what cannot be
