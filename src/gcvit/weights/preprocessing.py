"""How a checkpoint wants its images prepared. Plain data, in timm's terms."""

from dataclasses import dataclass

from gcvit.model.config import Pair

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """Resize, crop and normalise.

    size: (height, width) of the model's input in pixels.
    crop_pct: share of the resized image's side that the crop keeps, 0..1.
    crop_mode: "center" resizes the short side and crops; "squash" ignores the aspect ratio.
    interpolation: "bicubic", "bilinear" or another name that timm knows.
    mean, std: per channel, of values in 0..1.
    """

    size: Pair = (224, 224)
    crop_pct: float = 0.875
    crop_mode: str = "center"
    interpolation: str = "bicubic"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
