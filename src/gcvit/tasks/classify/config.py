"""What a classification run is made of: one frozen dataclass, which recipes, files and flags fill in."""

import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

from gcvit.data.settings import is_rand_augment
from gcvit.engine.fields import Probability, Range, check_fields
from gcvit.errors import require
from gcvit.tasks.config import RunConfig

SCALE, RATIO = "two rising shares, above 0 to 1 (0.0001 at the least)", "two rising numbers above 0, from 0.01 to 100"
POLICY = "like rand-m9-mstd0.5-inc1, with numbers up to 1,000"


@dataclass(frozen=True)
class AugmentConfig:
    """How training images are varied; evaluation sees them as they are."""

    scale: Annotated[tuple[float, float], Range(0.0001, 1, said=SCALE)] = (0.35, 1.0)
    """Smallest and largest share of the image's area that a random crop keeps, 0.0001 to 1."""
    ratio: Annotated[tuple[float, float], Range(0.01, 100, said=RATIO)] = (3 / 4, 4 / 3)
    """Smallest and largest width / height of a random crop, 0.01 to 100."""
    hflip: Probability = 0.5
    """Probability of a left-right flip."""
    color_jitter: Annotated[float, Range(0, 10)] = 0.2
    """Strength of random brightness, contrast and saturation, 0 to 10; unused with rand_augment."""
    rand_augment: str | None = None
    """timm's name of a RandAugment policy, such as rand-m9-mstd0.5-inc1; numbers up to 1,000."""
    random_erasing: Probability = 0.0
    """Probability of erasing a rectangle."""
    interpolation: Literal["random", "bilinear", "bicubic"] = "random"
    """Of the random crop; random draws bilinear or bicubic."""
    mixup: Annotated[float, Range(0, 1000)] = 0.0
    """Alpha of mixup's beta distribution, 0 to 1,000; 0: off."""
    cutmix: Annotated[float, Range(0, 1000)] = 0.0
    """Alpha of cutmix's beta distribution, 0 to 1,000; 0: off."""
    mix_prob: Probability = 1.0
    """Probability that a batch is mixed at all."""
    mix_switch_prob: Probability = 0.5
    """Probability that it is cutmix, when both are on."""
    label_smoothing: Annotated[float, Range(0, 1, but=(1,), said="from 0 to below 1")] = 0.1
    """Share of each label that is spread over all classes, from 0 to below 1."""

    def __post_init__(self) -> None:
        """Raises UserError, naming the setting, for a value out of range."""
        check_fields(self)
        require(self.scale[0] <= self.scale[1], "scale", self.scale, SCALE)
        require(self.ratio[0] <= self.ratio[1], "ratio", self.ratio, RATIO)
        require(self.rand_augment is None or _is_policy(self.rand_augment), "rand_augment", self.rand_augment, POLICY)

    @property
    def mixes(self) -> bool:
        """Whether pairs of images are mixed."""
        return (self.mixup > 0 or self.cutmix > 0) and self.mix_prob > 0


@dataclass(frozen=True)
class ClassifyConfig(RunConfig):
    """One classification run."""

    model: str = "gcvit_nano"
    """Name of the model (`gcvit info` lists them); auto: the one that the weights are of."""
    data: str | None = None
    """Folder or tar archive with train/CLASS/… and val/CLASS/…, or CLASS/… that is divided; none: built-in shapes."""
    epochs: Annotated[int | None, Range(1, 1_000_000)] = 30
    """Passes over the training images, 1 to 1,000,000; none: the run is counted in steps."""
    crop_pct: Annotated[float, Range(0.1, 1, said="above 0, at most 1, and no less than 0.1")] = 0.875
    """Share of the resized image's side that evaluation sees, 0.1 to 1."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: an image counts the more the rarer its class is; for unbalanced data."""

    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        """Raises UserError, naming the setting, for a value out of range."""
        super().__post_init__()
        require(
            self.batch_size % 2 == 0 or not self.augment.mixes,
            "batch_size",
            self.batch_size,
            "even, because mixup and cutmix take images in pairs",
        )


def _is_policy(policy: str) -> bool:
    return is_rand_augment(policy) and all(float(number) <= 1000 for number in re.findall(r"\d+\.?\d*", policy))
