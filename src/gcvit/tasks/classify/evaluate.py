"""How good a classifier is on held-out images, computed by one process or shared out over several."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from gcvit import distributed
from gcvit.data.loading import to_device
from gcvit.engine.device import Precision, autocast
from gcvit.metrics import Accuracy, Calibration, wilson
from gcvit.tasks.classify.inference import TTA, class_logits
from gcvit.tasks.unreadable import Unreadable
from gcvit.tasks.wording import plural

FEW = 100  # images; with fewer the figures are mostly chance


@dataclass(frozen=True)
class Evaluation:
    """The result over all images that could be read, in the dataset's order, the same on every rank.

    accuracy: top-1, top-5 and per-class shares.
    positions: (images,) int64, each image's place in the dataset.
    labels, predicted: (images,) int64. confidence: (images,) softmax of the predicted class, 0 … 1.
    losses: (images,) cross-entropy: minus the logarithm of the true class's softmax.
    unreadable: the images that were left out. seconds: of loading and computing together, of the slowest rank.
    """

    accuracy: Accuracy
    positions: Tensor
    labels: Tensor
    predicted: Tensor
    confidence: Tensor
    losses: Tensor
    unreadable: list[Unreadable]
    seconds: float

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
    def calibration(self) -> Calibration:
        return Calibration(self.confidence, self.right)

    @property
    def images_per_second(self) -> float:
        return len(self.labels) / self.seconds

    @property
    def caution(self) -> str | None:
        """What to say of figures that rest on few images."""
        images = self.accuracy.images
        if images >= FEW:
            return None
        return f"Only {plural(images, 'image')}: the figures are rough; with another hundred they may change much."


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    loader: DataLoader,
    *,
    device: torch.device,
    precision: Precision = "auto",
    tta: TTA = "none",
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Classify every image of an `evaluation_loader`. All ranks call it, each with its share.

    progress: called with the number of this rank's images done after each batch.
    Raises ValueError when there are no images, none can be read, or the logits are not finite.
    """
    start = time.perf_counter()
    training = model.training
    model.eval()
    accuracy: Accuracy | None = None
    rows: list[tuple[Tensor, ...]] = []
    unreadable: list[Unreadable] = []
    done = 0
    for batch in loader:
        unreadable += batch.unreadable
        if len(batch.labels):
            images, labels = to_device((batch.images, batch.labels), device)
            with autocast(device, precision):
                logits = class_logits(model, images, tta)
            accuracy = accuracy or Accuracy(logits.shape[1], device)
            guesses = logits.topk(min(5, logits.shape[1]), dim=1).indices
            accuracy.update(guesses, labels)
            predicted = guesses[:, :1]
            confidence = logits.softmax(1).gather(1, predicted)
            losses = cross_entropy(logits, labels, reduction="none")
            rows.append((batch.positions, labels, predicted[:, 0], confidence[:, 0], losses))
        done += len(batch.labels) + len(batch.unreadable)
        if progress is not None:
            progress(done)
    model.train(training)
    return _together(accuracy, rows, unreadable, start, device)


def _together(
    accuracy: Accuracy | None,
    rows: Sequence[tuple[Tensor, ...]],
    unreadable: list[Unreadable],
    start: float,
    device: torch.device,
) -> Evaluation:
    """One result from the ranks' shares; a rank may have had none."""
    left_out = sorted(item for share in distributed.gather(unreadable) for item in share)
    classes = distributed.highest(0 if accuracy is None else accuracy.classes)
    if not classes:
        if left_out:
            _, file, reason = left_out[0]
            raise ValueError(f"none of the {len(left_out):,} images could be read; the first: {file}: {reason}")
        raise ValueError("there are no images to evaluate on")
    accuracy = accuracy or Accuracy(classes, device)
    accuracy.counts = distributed.total(accuracy.counts).cpu()
    mine = [torch.cat(column).cpu() for column in zip(*rows, strict=True)]
    columns = [torch.cat(shares) for shares in zip(*filter(None, distributed.gather(mine)), strict=True)]
    order = columns[0].argsort()
    positions, labels, predicted, confidence, losses = (column[order] for column in columns)
    if broken := int((~losses.isfinite()).sum()):
        raise ValueError(
            f"the model's answers to {broken:,} of {len(losses):,} images are not finite numbers: its weights are "
            f"damaged or its training diverged; in bf16, try fp32"
        )
    seconds = max(distributed.gather(time.perf_counter() - start))
    return Evaluation(accuracy, positions, labels, predicted, confidence, losses, left_out, seconds)
