"""Image classification: train, evaluate."""

from gcvit.tasks.classify.config import AugmentConfig, ClassifyConfig
from gcvit.tasks.classify.evaluate import Evaluation, evaluate
from gcvit.tasks.classify.evaluate_checkpoint import CheckpointEvaluation, evaluate_checkpoint
from gcvit.tasks.classify.train import TrainResult, train

__all__ = [
    "AugmentConfig",
    "CheckpointEvaluation",
    "ClassifyConfig",
    "Evaluation",
    "TrainResult",
    "evaluate",
    "evaluate_checkpoint",
    "train",
]
