"""Classification as the engine sees it: batches, a loss, an evaluation, a way to save."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from timm.data import Mixup
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from gcvit.data.loading import EpochLoader, end_workers, to_device
from gcvit.engine.device import Precision
from gcvit.model import GCViT
from gcvit.tasks.classify.config import AugmentConfig
from gcvit.tasks.classify.evaluate import evaluate
from gcvit.weights.hub import save_hub
from gcvit.weights.preprocessing import Preprocessing

Batch = tuple[Tensor, Tensor]


class ClassifyTask:
    """Softmax classification, with mixup, cutmix and label smoothing. Batches are images and labels.

    class_weights: (classes,), how much an image of each class counts in the loss of training, such as
        `balanced_weights`; a mixed image counts as its parts do, by their shares. None: all images count the same.
    """

    score = "top1"

    def __init__(
        self,
        train: EpochLoader,
        held_out: DataLoader,
        labels: list[str],
        preprocessing: Preprocessing,
        augment: AugmentConfig,
        device: torch.device,
        precision: Precision,
        class_weights: Tensor | None = None,
    ) -> None:
        self.train, self.held_out, self.labels, self.preprocessing = train, held_out, labels, preprocessing
        self.device, self.precision, self.label_smoothing = device, precision, augment.label_smoothing
        self.mix = (
            Mixup(
                mixup_alpha=augment.mixup,
                cutmix_alpha=augment.cutmix,
                prob=augment.mix_prob,
                switch_prob=augment.mix_switch_prob,
                label_smoothing=0.0,  # the loss does it, after the class weights have seen the shares as they are
                num_classes=len(labels),
            )
            if augment.mixes
            else None
        )
        self.class_weights = None if class_weights is None else class_weights.to(device)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Images (batch, 3, height, width) and labels (batch,) on the device, from update `start` of the epoch on."""
        return (to_device(batch, self.device) for batch in self.train.epoch(epoch, start))

    def samples(self, epoch: int, update: int) -> list[str]:
        """The images of one update, by name where they have one."""
        return [self.train.dataset.name(index) for index in self.train.sampler.update(epoch, update)]

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Mean over the images of (weight ×) cross-entropy. Mixing draws from the global generators."""
        images, target = batch if self.mix is None else self.mix(*batch)  # labels, or shares of all classes
        smoothing, weights = self.label_smoothing, self.class_weights
        if weights is None:
            return cross_entropy(model(images), target, label_smoothing=smoothing)
        counts = weights[target] if target.ndim == 1 else (target * weights).sum(1)
        # Divided by the images, not by their weights, so that each part of an update adds what it would in the whole.
        return (counts * cross_entropy(model(images), target, label_smoothing=smoothing, reduction="none")).mean()

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Top-1, top-5 and loss (without smoothing) on the held-out images."""
        assert isinstance(model, GCViT)
        result = evaluate(model.fold(), self.held_out, device=self.device, precision=self.precision)
        return {"top1": result.accuracy.top1, "top5": result.accuracy.top5, "loss": result.loss}

    def close(self) -> None:
        """End the processes that load images."""
        self.train.close()
        end_workers(self.held_out)

    def save(self, model: nn.Module, folder: Path, metadata: Mapping[str, str]) -> None:
        """Write a hub folder with weights, architecture, labels and preprocessing."""
        assert isinstance(model, GCViT)
        save_hub(model, folder, preprocessing=self.preprocessing, labels=self.labels, metadata=dict(metadata))


def balanced_weights(labels: Sequence[int], classes: int) -> Tensor:
    """The weight of each class's images, (classes,) float32: inversely proportional to their number, and 1 on average
    over the images. A class without images weighs nothing."""
    counts = torch.bincount(torch.tensor(labels), minlength=classes).double()
    weights = len(labels) / ((counts > 0).sum() * counts)
    return torch.where(counts > 0, weights, 0).float()
