"""Recipes: functions that return a configuration, and say what it costs and what it reaches."""

from collections.abc import Callable

from gcvit.recipes.classify import finetune, quickstart, small_images
from gcvit.recipes.imagenet import (
    imagenet_base,
    imagenet_large,
    imagenet_large_384,
    imagenet_large_512,
    imagenet_small,
    imagenet_small2,
    imagenet_tiny,
    imagenet_tiny2,
    imagenet_xtiny,
    imagenet_xxtiny,
    table_s3_32,
    table_s3_32_ema,
    table_s3_128,
    table_s3_128_ema,
)
from gcvit.recipes.segment import ade20k_base, ade20k_small, ade20k_tiny, segment_small
from gcvit.tasks.classify import ClassifyConfig
from gcvit.tasks.segment.config import SegmentConfig

CLASSIFY: dict[str, Callable[[], ClassifyConfig]] = {
    recipe.__name__: recipe
    for recipe in (
        quickstart,
        small_images,
        finetune,
        imagenet_xxtiny,
        imagenet_xtiny,
        imagenet_tiny,
        imagenet_tiny2,
        imagenet_small,
        imagenet_small2,
        imagenet_base,
        imagenet_large,
        imagenet_large_384,
        imagenet_large_512,
        table_s3_32,
        table_s3_128,
        table_s3_32_ema,
        table_s3_128_ema,
    )
}

SEGMENT: dict[str, Callable[[], SegmentConfig]] = {
    recipe.__name__: recipe for recipe in (segment_small, ade20k_tiny, ade20k_small, ade20k_base)
}

__all__ = ["CLASSIFY", "SEGMENT", *CLASSIFY, *SEGMENT]
