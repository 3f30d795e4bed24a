"""Evaluations that are made up, and pages of them."""

from typing import Any

import torch
from torch import Tensor

from gcvit.data.shapes import ShapesDataset
from gcvit.metrics import Accuracy
from gcvit.tasks.classify.evaluation import ClassifyEvaluation

EVIL = "<script>alert('&')</script>"
CLASSES = [EVIL, "n01443537", *(f"class {label}" for label in range(2, 10))]


def classified(labels: Tensor, predicted: Tensor, confidence: Tensor, **changes: Any) -> ClassifyEvaluation:
    """Of the built-in shapes, by default the first ones."""
    classes = changes.pop("classes", CLASSES)
    accuracy = Accuracy(len(classes))
    accuracy.update(predicted[:, None], labels)
    found: dict[str, Any] = {
        "pictures": ShapesDataset("val", max(len(labels), 1), 32),
        "classes": classes,
        "palette": None,
        "unreadable": [],
        "seconds": 2.0,
        "accuracy": accuracy,
        "positions": torch.arange(len(labels)),
        "labels": labels,
        "predicted": predicted,
        "confidence": confidence,
        "losses": -confidence.log(),
    }
    return ClassifyEvaluation(**(found | changes))


def evaluation(images: int, *, classes: int = 10, wrong: int = 0, **changes: Any) -> ClassifyEvaluation:
    """The first `wrong` of the images are taken for the next class."""
    labels = torch.arange(images) % classes
    predicted = torch.where(torch.arange(images) < wrong, (labels + 1) % classes, labels)
    return classified(labels, predicted, torch.linspace(0.9, 0.5, images), classes=CLASSES[:classes], **changes)
