"""What a classifier says of pictures: the likeliest classes, seen once or together with the mirror image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from gcvit.tasks.classify.model import require_classes
from gcvit.tasks.classify.names import describe, readable
from gcvit.tasks.classify.settings import ClassifyLooks, ClassifyTelling
from gcvit.tasks.opened import Answer, Opened, Prepared
from gcvit.tasks.pictures import captioned
from gcvit.weights.checks import check_answers

LEAST = 0.0005  # below it a next best would be shown as 0.0%


@dataclass(frozen=True)
class Guess:
    """A class and how likely it is, 0 to 1. index: its output's number."""

    label: str
    index: int
    probability: float


@dataclass(frozen=True)
class Classification(Answer):
    """The likeliest classes of a picture, the best first."""

    guesses: tuple[Guess, ...]

    def to_dict(self) -> dict[str, Any]:
        """ "predictions" has "label", "index" and "probability" of each, and "description" of ImageNet's classes."""
        found = []
        for guess in self.guesses:
            description = describe(guess.label)
            described = {} if description is None else {"description": description}
            share = float(f"{guess.probability:.6g}")
            found.append({"label": guess.label, **described, "index": guess.index, "probability": share})
        return {"file": self.file, "predictions": found}

    def draw(self) -> Image.Image:
        """The picture with the guesses below it."""
        return captioned(self.picture, [f"{readable(g.label)} {100 * g.probability:.1f}%" for g in self.guesses])

    def line(self) -> str:
        best, *others = self.guesses
        rest = ", ".join(f"{readable(g.label)} {100 * g.probability:.1f}%" for g in others if g.probability >= LEAST)
        return f"{readable(best.label):20}  {100 * best.probability:4.1f}%  {rest}".rstrip()


def classify(
    opened: Opened,
    model: nn.Module,
    images: Tensor,
    pictures: Sequence[Prepared],
    looks: ClassifyLooks,
    telling: ClassifyTelling,
) -> list[Answer]:
    """The `top_k` likeliest classes of each picture. Raises UserError for a model that gives features alone."""
    require_classes(opened)
    logits = class_logits(model, images, looks)
    check_answers(logits, opened.source)
    probabilities = logits.softmax(dim=-1)
    best = probabilities.topk(min(telling.top_k, probabilities.shape[-1]), dim=-1)
    answers: list[Answer] = []
    for picture, indices, values in zip(pictures, best.indices.tolist(), best.values.tolist(), strict=True):
        names = [str(index) if opened.classes is None else opened.classes[index] for index in indices]
        answers.append(Classification(picture.source, tuple(map(Guess, names, indices, values)), pixels=opened.pixels))
    return answers


def class_logits(model: nn.Module, images: Tensor, looks: ClassifyLooks) -> Tensor:
    """Logits (batch, classes) in fp32 of images (batch, channels, height, width).

    With `flip` their softmax is the mean of the image's and the mirror image's softmax: test-time augmentation.
    """
    logits = model(images).float()
    if looks.tta == "none":
        return logits
    mirrored = model(images.flip(3)).float()
    # Up to log 2, which the softmax does not see.
    return torch.logaddexp(logits.log_softmax(1), mirrored.log_softmax(1))
