"""What segmentation heads are made of, how a model is shown pictures, what is saved of them, and how they are
prepared."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from gcvit.data.settings import PixelFormat
from gcvit.engine.fields import Range, check_fields, check_ranges, flag
from gcvit.errors import UserError, require
from gcvit.model.config import LARGEST_SIDE, SMALLEST_SIDE, Pair
from gcvit.tasks.config import HeadNorm
from gcvit.weights.preprocessing import IMAGENET_MEAN, IMAGENET_STD, check_statistics
from gcvit.wording import by

if TYPE_CHECKING:
    from gcvit.tasks.opened import Opened

Mode = Literal["whole", "slide"]
MOST_BINS = 16


@dataclass(frozen=True)
class UPerNetConfig:
    """The heads on the pyramid (Xiao et al., 2018)."""

    channels: Annotated[int, Range(1, 4096)] = 512
    """Of the feature pyramid, the pooled maps and their fusion, 1 to 4,096."""
    bins: Annotated[tuple[int, ...], Range(1, 64)] = (1, 2, 3, 6)
    """Cells a side of the pooled maps of the pyramid pooling module, 1 to 64; at most 16 of them."""
    dropout: Annotated[float, Range(0, 1, but=(1,), said="from 0 to below 1")] = 0.1
    """Of whole channels, before each classifier, from 0 to below 1."""
    norm: HeadNorm = "batch"
    """batch: over the images that go through the model at once, on all GPUs together; group: within each image, for
    small batches."""
    aux_channels: Annotated[int, Range(1, 4096)] = 256
    """Of the auxiliary head on the third map, 1 to 4,096; it is used in training only."""
    aux_weight: Annotated[float, Range(0, 1000)] = 0.4
    """Of its loss, 0 to 1,000; 0: no auxiliary head."""

    def __post_init__(self) -> None:
        """Raises UserError, naming the setting, for a value out of range."""
        check_fields(self)
        require(len(self.bins) <= MOST_BINS, "bins", self.bins, f"at most {MOST_BINS} numbers")


@dataclass(frozen=True)
class SegmentLooks:
    """How a segmentation model is shown a picture."""

    mode: Mode | None = None
    """slide: in windows of the crops' size at two thirds of it, averaged where they overlap; needs less memory. none:
    whole, but slide in windows of an exported file's size, which is the largest that it takes"""
    scales: Annotated[tuple[float, ...], Range(0.01, 100, said="factors above 0, from 0.01 to 100")] = (1.0,)
    """sizes at which pictures are shown, as factors; the softmax of several is averaged"""
    flip: bool = False
    """show the mirror images too"""

    def __post_init__(self) -> None:
        """Raises UserError for scales that cannot be."""
        require(len(self.scales) > 0, "--scales", self.scales, "one or more")
        check_ranges(self, flag)

    def of(self, opened: "Opened") -> "Looks":
        """With the windows of a model."""
        mode = self.mode or ("slide" if opened.exported else "whole")
        return Looks(mode, self.scales, self.flip, opened.preprocessing.crop)

    def words(self, opened: "Opened") -> str:
        """In few words."""
        looks = self.of(opened)
        words = ["whole" if looks.mode == "whole" else "in windows of {}×{}".format(*looks.window)]
        if looks.scales != (1.0,):
            words.append("scales " + " ".join(f"{scale:g}" for scale in looks.scales))
        return ", ".join([*words, *(["mirrored too"] if looks.flip else [])])


@dataclass(frozen=True)
class Looks(SegmentLooks):
    """How the model is shown a picture: whole, or window by window, each two thirds of a window from the next, the last
    ones flush with the edge; where windows overlap, their logits are averaged. Pictures smaller than 32 pixels are
    continued with zeros, the mean colour, to the right and below. The softmax of several scales and of mirror images is
    averaged.
    """

    mode: Mode = "whole"
    """whole, or slide: in windows"""
    window: Pair = (512, 512)
    """(height, width) in pixels"""

    def __post_init__(self) -> None:
        """Raises UserError for what cannot be."""
        super().__post_init__()
        if min(self.window) < SMALLEST_SIDE:
            raise UserError(f"window {by(self.window)}: the model sees {SMALLEST_SIDE} pixels a side at least")

    def of(self, opened: "Opened") -> "Looks":
        """Itself: it has its window."""
        return self

    @property
    def steps(self) -> Pair:
        """From one window to the next, (height, width) in pixels."""
        height, width = self.window
        return height * 2 // 3, width * 2 // 3


@dataclass(frozen=True)
class SegmentTelling:
    """What is saved of a picture."""

    overlay: Literal["png", "jpg"] = "png"
    """kind of file for the coloured pictures"""


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
