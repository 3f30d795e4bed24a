"""What a segmentation run is made of: one frozen dataclass, which recipes, files and flags fill in."""

from dataclasses import dataclass, field
from typing import Annotated

from gcvit.data.settings import LabelReading
from gcvit.engine.fields import LONGEST_TEXT, Probability, Range, check_fields
from gcvit.engine.settings import OptimConfig
from gcvit.errors import require
from gcvit.tasks.config import RunConfig
from gcvit.tasks.segment.settings import Mode, UPerNetConfig

SCALE, RESIZE = "two rising factors above 0, from 0.05 to 20", "at least 32 pixels, at most 32,768, or none"
MOST = 100_000_000


@dataclass(frozen=True)
class SceneAugmentConfig:
    """How training scenes are varied. Picture and labels go through one geometric transform."""

    scale: Annotated[tuple[float, float], Range(0.05, 20, said=SCALE)] = (0.5, 2.0)
    """Smallest and largest factor of a random resize, on top of `resize`, 0.05 to 20."""
    crop: Annotated[tuple[int, int], Range(32, 8192, said="at least 32 pixels a side, at most 8,192")] = (512, 512)
    """Height and width in pixels, 32 to 8,192, of what the model sees; smaller pictures are padded, and the padding is
    ignored."""
    cat_max_ratio: Annotated[float, Range(0, 1, but=(0,), said="a share, above 0 to 1")] = 0.75
    """Share of a crop's labelled pixels that no class may reach, if one of ten draws is so; 1: any crop will do."""
    hflip: Probability = 0.5
    """Probability of a left-right flip."""
    photometric: bool = True
    """Random brightness, contrast, saturation and hue."""

    def __post_init__(self) -> None:
        """Raises UserError, naming the setting, for a value out of range."""
        check_fields(self)
        require(self.scale[0] <= self.scale[1], "scale", self.scale, SCALE)


@dataclass(frozen=True)
class SegmentConfig(RunConfig):
    """One segmentation run: UPerNet on a GC ViT."""

    model: str = "gcvit_pico"
    """Name of the backbone (`gcvit info` lists them)."""
    weights: str | None = None
    """Start from this checkpoint: of a classifier (its backbone is taken) or of a segmentation run (all of it); a run's
    folder, a file, a hub folder or id, or a model's name for its published weights."""
    img_size: Annotated[int | tuple[int, int] | None, Range(32, 8192)] = None
    """Side, or height and width, in pixels that windows are chosen for, 32 to 8,192; none: the crop's. Any size of
    picture works."""
    data: str | None = None
    """Folder with images/training, annotations/training, …/validation (ADE20K's layout), or images/ and labels/ that
    are divided; none: the built-in scenes."""
    train_images: Annotated[int, Range(1, 1_000_000)] = 2000
    """Number of built-in training scenes, 1 to 1,000,000."""
    val_images: Annotated[int, Range(1, 1_000_000)] = 200
    """Number of built-in held-out scenes, 1 to 1,000,000."""
    reading: LabelReading = field(default_factory=LabelReading)

    steps: Annotated[int | None, Range(1, 100_000_000)] = 1000
    """Updates of the weights in all, 1 to 100,000,000; none: the run is counted in epochs."""
    eval_every: Annotated[int, Range(1, 100_000_000)] = 500
    """Steps, or epochs in a run that is counted in them, from one evaluation to the next, 1 to 100,000,000."""
    resize: Annotated[tuple[int, int] | None, Range(32, 32_768, said=RESIZE)] = None
    """(long, short): pictures are resized, keeping their shape, to be as large as the long side's limit and the short
    side allow, 32 to 32,768 pixels; none: they stay as they are."""
    eval_mode: Mode = "whole"
    """Evaluate on whole pictures, or window by window of the crop's size at two thirds of it."""

    head: UPerNetConfig = field(default_factory=UPerNetConfig)
    augment: SceneAugmentConfig = field(default_factory=SceneAugmentConfig)
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(schedule="linear", weight_decay=0.01, min_lr=0.0, warmup="50 steps")
    )

    @property
    def places(self) -> tuple[str, ...]:
        return (*super().places, "reading.classes_file")

    def __post_init__(self) -> None:
        """Raises UserError, naming the setting, for a value out of range."""
        super().__post_init__()
        file = self.reading.classes_file or ""
        require(len(file) <= LONGEST_TEXT and "\0" not in file, "classes_file", file, "the name of a file")
        if self.steps is None:
            return
        images = min(self.eval_every, self.steps) * self.batch_size  # all are drawn at once
        require(images <= MOST, "eval_every × batch_size", images, f"at most {MOST:,} images between two evaluations")
