"""Image classification."""

from gcvit.tasks.classify.config import AugmentConfig, ClassifyConfig
from gcvit.tasks.classify.settings import ClassifyLooks, ClassifyTelling
from gcvit.tasks.classify.task import Classify

CLASSIFY = Classify()

__all__ = ["CLASSIFY", "AugmentConfig", "Classify", "ClassifyConfig", "ClassifyLooks", "ClassifyTelling"]
