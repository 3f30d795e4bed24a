"""Recipes: functions that return a configuration, and say what it costs and what it reaches."""

from collections.abc import Callable

from gcvit.recipes.classify import quickstart, small_images
from gcvit.tasks.classify import ClassifyConfig

RECIPES: dict[str, Callable[[], ClassifyConfig]] = {"quickstart": quickstart, "small_images": small_images}

__all__ = ["RECIPES", "quickstart", "small_images"]
