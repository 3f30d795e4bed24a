"""How good a classifier is on held-out images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gcvit import distributed
from gcvit.metrics import Accuracy, Calibration, most_confused, wilson
from gcvit.tasks import page
from gcvit.tasks.classify.answer import class_logits
from gcvit.tasks.classify.charts import draw_confusion, draw_reliability
from gcvit.tasks.classify.names import describe, readable
from gcvit.tasks.classify.pictures import cards, draw_predictions
from gcvit.tasks.classify.settings import ClassifyLooks
from gcvit.tasks.evaluation import CSV, Evaluation, Meter, Number, Table, Unreadable, check_finite, six_digits
from gcvit.tasks.opened import Opened
from gcvit.tasks.task import Pictures
from gcvit.wording import percent, plural, rate


@dataclass(frozen=True)
class ClassifyEvaluation(Evaluation):
    """A classifier's figures, and every image's.

    accuracy: top-1, top-5 and per-class shares, by the model's outputs.
    positions: (images,) int64, each image's place in the data set.
    labels, predicted: (images,) int64. confidence: (images,) softmax of the predicted class, 0 … 1.
    losses: (images,) cross-entropy: minus the logarithm of the true class's softmax.
    """

    accuracy: Accuracy
    positions: Tensor
    labels: Tensor
    predicted: Tensor
    confidence: Tensor
    losses: Tensor

    @property
    def measured(self) -> int:
        return self.accuracy.images

    @property
    def loss(self) -> float:
        """Mean cross-entropy, also called the negative log-likelihood (NLL)."""
        return self.losses.double().mean().item()

    @property
    def right(self) -> Tensor:
        """(images,) bool: whether the predicted class is the true one."""
        return self.labels == self.predicted

    @property
    def top1_interval(self) -> tuple[float, float]:
        """Where top-1 may be on all such images: the 95% Wilson interval, (low, high) in 0 … 1."""
        return wilson(self.accuracy.hits, self.accuracy.images)

    @property
    def top5(self) -> float | None:
        """Share of images, 0 … 1, whose class is among the five likeliest; None where that says nothing."""
        return self.accuracy.top5 if len(self.classes) > 5 else None

    @property
    def calibration(self) -> Calibration:
        return Calibration(self.confidence, self.right)

    @property
    def metrics(self) -> dict[str, float | None]:
        return {"top1": self.accuracy.top1, "top5": self.accuracy.top5, "loss": self.loss}

    def numbers(self) -> list[Number]:
        low, high = self.top1_interval
        top5 = [] if self.top5 is None else [Number("top-5", percent(self.top5), "among the five likeliest")]
        return [
            Number("top-1", percent(self.accuracy.top1), f"95% interval {percent(low)} to {percent(high)}"),
            *top5,
            Number("mean per class", percent(self.accuracy.mean_per_class), "every class weighs the same"),
            Number("calibration error", percent(self.calibration.error), "ECE, 15 bins; 0 is best"),
            Number("loss", f"{self.loss:.4f}", "mean cross-entropy (NLL)"),
            Number("speed", f"{rate(self.images_per_second)}/s", "images evaluated, loading included"),
        ]

    def basis(self) -> str:
        classes = sum(share is not None for share in self.accuracy.per_class)
        return f"{plural(self.measured, 'held-out image')} of {plural(classes, 'class', 'es')}{self.left_out}"

    def per_class(self) -> Table:
        counts = enumerate(self.accuracy.counts.tolist())
        counted = [(hits / images, label, images, hits) for label, (images, hits, _) in counts if images]
        rows = []
        for share, label, images, hits in sorted(counted):
            low, high = wilson(hits, images)
            rows.append([self._name(label), f"{images:,}", percent(share), f"{low:.0%} to {high:.0%}"])
        return Table(["class", ">images", ">top-1", ">95% interval"], rows)

    def confused(self, count: int) -> Table:
        pairs = most_confused(self.labels, self.predicted, count)
        rows = [[self._name(truth), self._name(guess), f"{images:,}"] for truth, guess, images in pairs]
        return Table(["most confused", "taken for", ">images"], rows)

    def charts(self, title: str) -> dict[str, Figure]:
        error = f"calibration error (ECE) {percent(self.calibration.error)}"
        return {
            "predictions": draw_predictions(self, title=title),
            "confusion": draw_confusion(self.labels, self.predicted, self.classes, title=title),
            "reliability": draw_reliability(self.calibration, title=error),
        }

    def sections(self) -> list[str]:
        confusion = draw_confusion(self.labels, self.predicted, self.classes, title="")
        mistakes = self.confused(10)
        return [
            cards(self, "Most confident mistakes", right=False)
            + cards(self, "Most confident right answers", right=True),
            "<h2>What is taken for what</h2>",
            page.figure(confusion, "confusion of classes"),
            page.table(*mistakes) if mistakes.rows else "",
            "<h2>Is it right as often as it is sure?</h2>",
            page.figure(draw_reliability(self.calibration, title=""), "share right against confidence"),
            page.classes_table(*self.per_class()),
        ]

    def tables(self) -> dict[str, CSV]:
        classes = [
            [name, describe(name) or "", images, hits, *map(six_digits, (hits / images, *wilson(hits, images)))]
            for name, (images, hits, _) in zip(self.classes, self.accuracy.counts.tolist(), strict=True)
            if images
        ]
        columns = (self.positions, self.labels, self.predicted, self.confidence, self.losses)
        images = [
            [
                self.pictures.name(at),
                self.classes[label],
                self.classes[guess],
                int(label == guess),
                six_digits(sure),
                six_digits(loss),
            ]
            for at, label, guess, sure, loss in zip(*(column.tolist() for column in columns), strict=True)
        ]
        return {
            "per_class": CSV(["class", "description", "images", "right", "top1", "low95", "high95"], classes),
            "predictions": CSV(["file", "class", "predicted", "right", "confidence", "loss"], images),
        }

    def to_dict(self) -> dict[str, Any]:
        """All figures as plain JSON types; `top5` is null where it says nothing."""
        shares = zip(self.classes, self.accuracy.per_class, strict=True)
        return {
            "top1": self.accuracy.top1,
            "top1_interval": list(self.top1_interval),
            "top5": self.top5,
            "mean_per_class": self.accuracy.mean_per_class,
            "ece": self.calibration.error,
            "loss": self.loss,
            "per_class": {name: share for name, share in shares if share is not None},
            "most_confused": [
                {"class": self.classes[truth], "taken_for": self.classes[guess], "images": images}
                for truth, guess, images in most_confused(self.labels, self.predicted, 20)
            ],
        }

    def _name(self, label: int) -> str:
        return readable(self.classes[label])


class ClassifyMeter(Meter):
    """Collects what a classifier says of images and what they are, batch by batch."""

    def __init__(self, opened: Opened, looks: ClassifyLooks, pictures: Pictures, device: torch.device) -> None:
        super().__init__(opened, looks, pictures, device)
        self.accuracy = Accuracy(len(opened.names), device)

    def add(self, model: nn.Module, images: Tensor, targets: Tensor, positions: Sequence[int]) -> None:
        """targets: (batch,) int64, the model's outputs that stand for the images' classes. Waits for no device."""
        logits = class_logits(model, images, self.looks)
        guesses = logits.topk(min(5, logits.shape[1]), dim=1).indices
        self.accuracy.update(guesses, targets)
        predicted = guesses[:, :1]
        confidence = logits.softmax(1).gather(1, predicted)
        losses = cross_entropy(logits, targets, reduction="none")
        self.rows.append((torch.tensor(positions), targets, predicted[:, 0], confidence[:, 0], losses))

    def evaluation(self, unreadable: list[Unreadable], seconds: float) -> ClassifyEvaluation:
        """The result over all ranks. Raises UserError when the logits are not finite."""
        self.accuracy.counts = distributed.total(self.accuracy.counts).cpu()
        mine = [torch.cat(column).cpu() for column in zip(*self.rows, strict=True)]
        columns = [torch.cat(shares) for shares in zip(*filter(None, distributed.gather(mine)), strict=True)]
        order = columns[0].argsort()
        positions, labels, predicted, confidence, losses = (column[order] for column in columns)
        check_finite(losses.tolist())
        return ClassifyEvaluation(
            pictures=self.pictures,
            classes=self.opened.names,
            unreadable=unreadable,
            seconds=seconds,
            accuracy=self.accuracy,
            positions=positions,
            labels=labels,
            predicted=predicted,
            confidence=confidence,
            losses=losses,
        )
