"""timm's convolutional backbones and others with four maps under our heads, in the place of GC ViT. (Swin has a file of
its own: its windows are to be chosen.)"""

from typing import Any

import timm
from torch import nn

from gcvit.model.gcvit import Images, Map
from gcvit.tasks.detect.detector import PyramidDetector
from gcvit.tasks.detect.settings import HeadConfig
from gcvit.tasks.segment.segmenter import PyramidSegmenter
from gcvit.tasks.segment.settings import UPerNetConfig

STRIDES = [4, 8, 16, 32]


class TimmSegmenter(PyramidSegmenter):
    """Our norms and UPerNet on a model of timm's, by its name. classes, head: as for `Segmenter`."""

    def __init__(self, name: str, classes: int, head: UPerNetConfig) -> None:
        backbone, channels = _pyramid(name)
        super().__init__(channels, classes, head)
        self.backbone = backbone

    def pyramid(self, images: Images) -> list[Map]:
        return self.backbone(images)


class TimmDetector(PyramidDetector):
    """Our norms, feature pyramid, RPN and heads on a model of timm's, by its name. classes, head: as for `Detector`.
    settings: further words for timm."""

    def __init__(self, name: str, classes: int, head: HeadConfig, **settings: Any) -> None:
        backbone, channels = _pyramid(name, **settings)
        super().__init__(channels, classes, head)
        self.backbone = backbone

    def pyramid(self, images: Images) -> list[Map]:
        return self.backbone(images)


def _pyramid(name: str, **settings: Any) -> tuple[nn.Module, list[int]]:
    """The part of a model that gives maps at strides of 4 to 32, and their channels."""
    model: Any = timm.create_model(name, features_only=True, **settings)
    strides = model.feature_info.reduction()
    wanted = [strides.index(stride) for stride in STRIDES]
    model = timm.create_model(name, features_only=True, out_indices=wanted, **settings)
    return model, model.feature_info.channels()
