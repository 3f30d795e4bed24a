"""Semantic segmentation: a class for every pixel, by UPerNet on a GC ViT."""

from gcvit.tasks.segment.config import SceneAugmentConfig, SegmentConfig
from gcvit.tasks.segment.settings import SegmentLooks, SegmentTelling, UPerNetConfig
from gcvit.tasks.segment.task import Segment

SEGMENT = Segment()

__all__ = [
    "SEGMENT",
    "SceneAugmentConfig",
    "Segment",
    "SegmentConfig",
    "SegmentLooks",
    "SegmentTelling",
    "UPerNetConfig",
]
