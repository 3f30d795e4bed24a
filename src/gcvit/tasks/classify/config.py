"""What a classification run is made of: one frozen dataclass, which recipes, files and flags fill in."""

from dataclasses import dataclass, field
from typing import Literal

from gcvit.data.augment import is_rand_augment
from gcvit.engine.config import require
from gcvit.engine.run import RunConfig

# What a run that goes on may change without being another one; the data are compared by their names.
FREE = (*RunConfig.FREE, "data", "eval_every", "bad_images", "max_bad_images")


@dataclass(frozen=True)
class AugmentConfig:
    """How training images are varied; evaluation sees them as they are."""

    scale: tuple[float, float] = (0.35, 1.0)
    """Smallest and largest share of the image's area that a random crop keeps."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Smallest and largest width / height of a random crop."""
    hflip: float = 0.5
    """Probability of a left-right flip."""
    color_jitter: float = 0.2
    """Strength of random brightness, contrast and saturation; unused with rand_augment."""
    rand_augment: str | None = None
    """timm's name of a RandAugment policy, such as rand-m9-mstd0.5-inc1."""
    random_erasing: float = 0.0
    """Probability of erasing a rectangle."""
    interpolation: Literal["random", "bilinear", "bicubic"] = "random"
    """Of the random crop; random draws bilinear or bicubic."""
    mixup: float = 0.0
    """Alpha of mixup's beta distribution; 0: off."""
    cutmix: float = 0.0
    """Alpha of cutmix's beta distribution; 0: off."""
    mix_prob: float = 1.0
    """Probability that a batch is mixed at all."""
    mix_switch_prob: float = 0.5
    """Probability that it is cutmix, when both are on."""
    label_smoothing: float = 0.1
    """Share of each label that is spread over all classes."""

    def __post_init__(self) -> None:
        """Raises ValueError, naming the setting, for a value out of range."""
        for key in ("hflip", "random_erasing", "mix_prob", "mix_switch_prob"):
            require(0 <= getattr(self, key) <= 1, key, getattr(self, key), "a probability, 0 to 1")
        for key in ("color_jitter", "mixup", "cutmix"):
            require(0 <= getattr(self, key) < float("inf"), key, getattr(self, key), "at least 0")
        require(0 <= self.label_smoothing < 1, "label_smoothing", self.label_smoothing, "from 0 to below 1")
        require(0 < self.scale[0] <= self.scale[1] <= 1, "scale", self.scale, "two rising shares, above 0 to 1")
        require(0 < self.ratio[0] <= self.ratio[1], "ratio", self.ratio, "two rising numbers above 0")
        policy = self.rand_augment
        require(policy is None or is_rand_augment(policy), "rand_augment", policy, "like rand-m9-mstd0.5-inc1")

    @property
    def mixes(self) -> bool:
        """Whether pairs of images are mixed."""
        return (self.mixup > 0 or self.cutmix > 0) and self.mix_prob > 0


@dataclass(frozen=True)
class ClassifyConfig(RunConfig):
    """One classification run."""

    model: str = "gcvit_nano"
    """Name of the model (`gcvit info` lists them); auto: the one that the weights are of."""
    pretrained: bool = False
    """Start from the published weights of that model."""
    weights: str | None = None
    """Start from this checkpoint: a run's folder, a file, a hub folder or id, or a model's name for its published
    weights."""
    img_size: int | tuple[int, int] | None = None
    """Side, or height and width, in pixels; none: the model's own."""
    windows: tuple[int, int, int, int] | None = None
    """Window side in tokens per stage; none: the published share of img_size."""
    drop_path: float | None = None
    """Stochastic depth of the last block; none: the model's own."""
    freeze_stages: int = 0
    """Stages, from the first, that keep the weights that they start from; the stem stays with the first. 0 to 4."""

    data: str | None = None
    """Folder with train/CLASS/… and val/CLASS/…, or CLASS/… that is divided; none: the built-in shapes."""
    val_fraction: float = 0.1
    """Share of each class that is held out where the folder has no val/."""
    train_images: int = 8000
    """Number of built-in training images."""
    val_images: int = 1000
    """Number of built-in held-out images."""
    crop_pct: float = 0.875
    """Share of the resized image that evaluation sees, above 0 to 1."""
    bad_images: Literal["error", "skip"] = "error"
    """What a training image that cannot be read does: error stops the run; skip puts another image in its place and
    lists it in quarantine.jsonl."""
    max_bad_images: float = 0.01
    """Share of the training images that may be skipped before the run stops, 0 to 1."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: an image counts the more the rarer its class is; for unbalanced data."""

    epochs: int = 30
    """Passes over the training images."""
    eval_every: int = 1
    """Epochs from one evaluation to the next."""

    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        """Raises ValueError, naming the setting, for a value out of range."""
        super().__post_init__()
        for key in ("train_images", "val_images", "epochs", "eval_every"):
            require(getattr(self, key) >= 1, key, getattr(self, key), "at least 1")
        require(0 <= self.freeze_stages <= 4, "freeze_stages", self.freeze_stages, "from 0 to 4")
        require(0 <= self.max_bad_images <= 1, "max_bad_images", self.max_bad_images, "a share, 0 to 1")
        require(0 < self.crop_pct <= 1, "crop_pct", self.crop_pct, "above 0, at most 1")
        require(0 < self.val_fraction < 1, "val_fraction", self.val_fraction, "above 0, below 1")
        require(
            self.drop_path is None or 0 <= self.drop_path < 1,
            "drop_path",
            self.drop_path,
            "from 0 to below 1, or none",
        )
        require(
            self.batch_size % 2 == 0 or not self.augment.mixes,
            "batch_size",
            self.batch_size,
            "even, because mixup and cutmix take images in pairs",
        )
        if self.pretrained and self.weights:
            raise ValueError("pretrained and weights are two starting points; give one of them")
        optim = self.optim
        if optim.warmup_epochs + optim.cooldown_epochs > self.epochs:
            raise ValueError(
                f"warmup_epochs ({optim.warmup_epochs:g}) and cooldown_epochs ({optim.cooldown_epochs:g}) are "
                f"more than epochs ({self.epochs})"
            )
