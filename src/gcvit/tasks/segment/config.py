"""What a segmentation run is made of: one frozen dataclass, which recipes, files and flags fill in."""

from dataclasses import dataclass, field
from typing import Literal

from gcvit.engine.config import require
from gcvit.engine.optim import OptimConfig
from gcvit.engine.run import RunConfig

# What a run that goes on may change without being another one; the data are compared by their names.
FREE = (*RunConfig.FREE, "data", "classes_file")

HeadNorm = Literal["batch", "group"]


@dataclass(frozen=True)
class SceneAugmentConfig:
    """How training scenes are varied. Picture and labels go through one geometric transform."""

    scale: tuple[float, float] = (0.5, 2.0)
    """Smallest and largest factor of a random resize, on top of `resize`."""
    crop: tuple[int, int] = (512, 512)
    """Height and width in pixels of what the model sees; smaller pictures are padded, and the padding is ignored."""
    cat_max_ratio: float = 0.75
    """Share of a crop's labelled pixels that no class may reach, if one of ten draws is so; 1: any crop will do."""
    hflip: float = 0.5
    """Probability of a left-right flip."""
    photometric: bool = True
    """Random brightness, contrast, saturation and hue."""

    def __post_init__(self) -> None:
        """Raises ValueError, naming the setting, for a value out of range."""
        require(0 <= self.hflip <= 1, "hflip", self.hflip, "a probability, 0 to 1")
        require(0 < self.cat_max_ratio <= 1, "cat_max_ratio", self.cat_max_ratio, "a share, above 0 to 1")
        require(0 < self.scale[0] <= self.scale[1] < float("inf"), "scale", self.scale, "two rising factors above 0")
        require(min(self.crop) >= 32, "crop", self.crop, "at least 32 pixels a side")


@dataclass(frozen=True)
class UPerNetConfig:
    """The heads on the pyramid (Xiao et al., 2018)."""

    channels: int = 512
    """Of the feature pyramid, the pooled maps and their fusion."""
    bins: tuple[int, ...] = (1, 2, 3, 6)
    """Cells a side of the pooled maps of the pyramid pooling module."""
    dropout: float = 0.1
    """Of whole channels, before each classifier."""
    norm: HeadNorm = "batch"
    """batch: over the images that go through the model at once, on all GPUs together; group: within each image, for
    small batches."""
    aux_channels: int = 256
    """Of the auxiliary head on the third map; it is used in training only."""
    aux_weight: float = 0.4
    """Of its loss; 0: no auxiliary head."""

    def __post_init__(self) -> None:
        """Raises ValueError, naming the setting, for a value out of range."""
        for key in ("channels", "aux_channels"):
            require(getattr(self, key) >= 1, key, getattr(self, key), "at least 1")
        require(all(size >= 1 for size in self.bins), "bins", self.bins, "whole numbers of at least 1")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "from 0 to below 1")
        require(0 <= self.aux_weight < float("inf"), "aux_weight", self.aux_weight, "at least 0")


@dataclass(frozen=True)
class SegmentConfig(RunConfig):
    """One segmentation run: UPerNet on a GC ViT."""

    model: str = "gcvit_pico"
    """Name of the backbone (`gcvit info` lists them)."""
    pretrained: bool = False
    """Start the backbone from the published classification weights of that model."""
    weights: str | None = None
    """Start from this checkpoint: of a classifier (its backbone is taken) or of a segmentation run (all of it); a run's
    folder, a file, a hub folder or id, or a model's name for its published weights."""
    img_size: int | tuple[int, int] | None = None
    """Side, or height and width, in pixels that windows are chosen for; none: the crop's. Any size of picture works."""
    windows: tuple[int, int, int, int] | None = None
    """Window side in tokens per stage; none: the published share of img_size."""
    drop_path: float | None = None
    """Stochastic depth of the last block; none: the model's own."""

    data: str | None = None
    """Folder with images/training, annotations/training, …/validation (ADE20K's layout), or images/ and labels/ that
    are divided; none: the built-in scenes."""
    classes_file: str | None = None
    """Text file with a class name a line, the first for label 0; none: classes.txt in data, or ADE20K's own."""
    ignore_label: int | None = 255
    """The value in label files of pixels that do not count, beside zero_is_ignored; none: every value is a class."""
    zero_is_ignored: bool | None = None
    """Label 0 does not count and classes start at 1, as in ADE20K; none: for ADE20K only."""
    val_fraction: float = 0.1
    """Share of the images that is held out where the folder has no validation part."""
    train_images: int = 2000
    """Number of built-in training scenes."""
    val_images: int = 200
    """Number of built-in held-out scenes."""

    resize: tuple[int, int] | None = None
    """(long, short): pictures are resized, keeping their shape, to be as large as the long side's limit and the short
    side allow; none: they stay as they are."""
    steps: int = 1000
    """Updates of the weights in all."""
    eval_every: int = 500
    """Updates from one evaluation to the next."""
    eval_mode: Literal["whole", "slide"] = "whole"
    """Evaluate on whole pictures, or window by window of the crop's size at two thirds of it."""

    head: UPerNetConfig = field(default_factory=UPerNetConfig)
    augment: SceneAugmentConfig = field(default_factory=SceneAugmentConfig)
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(schedule="linear", weight_decay=0.01, min_lr=0.0, warmup_steps=50)
    )

    def __post_init__(self) -> None:
        """Raises ValueError, naming the setting, for a value out of range."""
        super().__post_init__()
        for key in ("train_images", "val_images", "steps", "eval_every"):
            require(getattr(self, key) >= 1, key, getattr(self, key), "at least 1")
        require(0 < self.val_fraction < 1, "val_fraction", self.val_fraction, "above 0, below 1")
        require(
            self.drop_path is None or 0 <= self.drop_path < 1, "drop_path", self.drop_path, "from 0 to below 1, or none"
        )
        require(self.resize is None or min(self.resize) >= 32, "resize", self.resize, "at least 32 pixels, or none")
        warmup = self.optim.warmup_steps
        require(warmup is not None, "warmup_steps", warmup, "a number, for a run that is counted in steps")
        require(
            warmup is None or warmup <= self.steps, "warmup_steps", warmup, f"at most steps ({self.steps}), set both"
        )
        optim, usual = self.optim, OptimConfig()
        require(optim.cooldown_epochs == 0, "cooldown_epochs", optim.cooldown_epochs, "0 for a run counted in steps")
        require(
            optim.warmup_epochs == usual.warmup_epochs,
            "warmup_epochs",
            optim.warmup_epochs,
            f"left at {usual.warmup_epochs} for a run counted in steps, which has warmup_steps",
        )
        if self.pretrained and self.weights:
            raise ValueError("pretrained and weights are two starting points; give one of them, or --no-pretrained too")


def label_flags(classes_file: object, ignore_label: int | None, zero_is_ignored: bool | None) -> list[object]:
    """The flags, of every command that reads label files, for values that are not the usual ones."""
    usual = SegmentConfig()
    flags: list[object] = []
    for flag, value, default in (
        ("--classes-file", classes_file, usual.classes_file),
        ("--ignore-label", ignore_label, usual.ignore_label),
        ("--zero-is-ignored", zero_is_ignored, usual.zero_is_ignored),
    ):
        if value != default:
            flags += [flag, "none" if value is None else value]
    return flags
