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
from gcvit.tasks.classify import ClassifyConfig

RECIPES: dict[str, Callable[[], ClassifyConfig]] = {
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

__all__ = ["RECIPES", *RECIPES]
