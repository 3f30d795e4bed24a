"""Object detection and instance segmentation: Mask R-CNN and Cascade Mask R-CNN on a GC ViT."""

from gcvit.tasks.detect.config import DetectAugmentConfig, DetectConfig
from gcvit.tasks.detect.settings import HeadConfig
from gcvit.tasks.detect.task import Detect

DETECT = Detect()

__all__ = [
    "DETECT",
    "Detect",
    "DetectAugmentConfig",
    "DetectConfig",
    "HeadConfig",
]
