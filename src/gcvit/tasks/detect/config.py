"""What a detection run is made of: one frozen dataclass, which recipes, files and flags fill in."""

from dataclasses import dataclass, field
from typing import Annotated

from gcvit.data.settings import CocoReading
from gcvit.engine.fields import Probability, Range, check_fields
from gcvit.engine.settings import OptimConfig
from gcvit.errors import require
from gcvit.tasks.config import RunConfig
from gcvit.tasks.detect.settings import LONG_SIDE, SHORT_SIDES, HeadConfig

Side = Range(32, 8192)


@dataclass(frozen=True)
class DetectAugmentConfig:
    """How training pictures are varied. Picture, boxes and masks go through one geometric transform."""

    short: Annotated[tuple[int, ...], Side] = SHORT_SIDES
    """Sizes in pixels, 32 to 8,192, of which the short side takes one each time, as far as `long` allows."""
    hflip: Probability = 0.5
    """Probability of a left-right flip."""
    cut: Probability = 0.5
    """Probability of a cut before that: resized, cut out, and resized again."""
    before: Annotated[tuple[int, ...], Side] = (400, 500, 600)
    """Sizes of which the short side takes one before the cut, 32 to 8,192."""
    sides: Annotated[tuple[int, int], Side] = (384, 600)
    """Least and greatest height and width of the cut in pixels, 32 to 8,192."""

    def __post_init__(self) -> None:
        """Raises UserError, naming the setting, for a value out of range."""
        check_fields(self)
        for key in ("short", "before"):
            require(len(getattr(self, key)) > 0, key, getattr(self, key), "at least one size")
        require(self.sides[0] <= self.sides[1], "sides", self.sides, "two rising numbers")


@dataclass(frozen=True)
class DetectConfig(RunConfig):
    """One detection run: Mask R-CNN or Cascade Mask R-CNN on a GC ViT."""

    model: str = "gcvit_pico"
    """Name of the backbone (`gcvit info` lists them)."""
    weights: str | None = None
    """Start from this checkpoint: of a classifier or a segmentation run (its backbone is taken) or of a detection run
    (all of it); a run's folder, a file, a hub folder or id, or a model's name for its published weights."""
    img_size: Annotated[int | tuple[int, int] | None, Range(32, 8192)] = None
    """Side, or height and width, in pixels that windows are chosen for, 32 to 8,192; none: that of `size`. Any size of
    picture works."""
    data: str | None = None
    """Folder with COCO's annotations/instances_train….json and its pictures, or train/ and val/ with a JSON file each,
    or pictures with one JSON file, which are divided; or a JSON file; none: the built-in scenes."""
    train_images: Annotated[int, Range(1, 1_000_000)] = 2000
    """Number of built-in training scenes, 1 to 1,000,000."""
    val_images: Annotated[int, Range(1, 1_000_000)] = 200
    """Number of built-in held-out scenes, 1 to 1,000,000."""
    reading: CocoReading = field(default_factory=CocoReading)

    steps: Annotated[int | None, Range(1, 100_000_000)] = 3000
    """Updates of the weights in all, 1 to 100,000,000; none: the run is counted in epochs."""
    eval_every: Annotated[int, Range(1, 100_000_000)] = 1000
    """Steps, or epochs in a run that is counted in them, from one evaluation to the next, 1 to 100,000,000."""
    size: Annotated[int, Side] = 800
    """Of the short side of held-out pictures in pixels, as far as `long` allows, 32 to 8,192."""
    long: Annotated[int, Side] = LONG_SIDE
    """Largest size of the long side in pixels, 32 to 8,192, in training and evaluation."""
    scene_size: Annotated[int, Side] = 128
    """Side in pixels of the built-in scenes, 32 to 8,192."""
    head: HeadConfig = field(default_factory=HeadConfig)
    augment: DetectAugmentConfig = field(default_factory=DetectAugmentConfig)
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(lr=1e-4, schedule="steps", clip_grad=None, min_lr=0.0, warmup="500 steps")
    )

    def __post_init__(self) -> None:
        """Raises UserError, naming the setting, for a value out of range."""
        super().__post_init__()
        least = max(self.size, *self.augment.short)
        require(self.long >= least, "long", self.long, f"at least size and short, {least}")
