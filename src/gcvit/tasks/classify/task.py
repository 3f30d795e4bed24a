"""Classification as the engine sees it: batches, a loss, an evaluation, a way to save."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from timm.data import Mixup
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from gcvit.engine.device import Precision
from gcvit.model import GCViT
from gcvit.tasks.classify.config import AugmentConfig
from gcvit.tasks.classify.data import EpochLoader, to_device
from gcvit.tasks.classify.evaluate import evaluate
from gcvit.weights.hub import save_hub
from gcvit.weights.preprocessing import Preprocessing

Batch = tuple[Tensor, Tensor]


class ClassifyTask:
    """Softmax classification, with mixup, cutmix and label smoothing. Batches are images and labels."""

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
    ) -> None:
        self.train, self.held_out, self.labels, self.preprocessing = train, held_out, labels, preprocessing
        self.device, self.precision, self.label_smoothing = device, precision, augment.label_smoothing
        self.mix = (
            Mixup(
                mixup_alpha=augment.mixup,
                cutmix_alpha=augment.cutmix,
                prob=augment.mix_prob,
                switch_prob=augment.mix_switch_prob,
                label_smoothing=augment.label_smoothing,
                num_classes=len(labels),
            )
            if augment.mixes
            else None
        )

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Images (batch, 3, height, width) and labels (batch,) on the device; the epoch decides all of it."""
        return (to_device(batch, self.device) for batch in self.train.epoch(epoch))

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Mean cross-entropy. Mixing draws from the global generators."""
        images, labels = batch
        if self.mix is None:
            return cross_entropy(model(images), labels, label_smoothing=self.label_smoothing)
        images, shares = self.mix(images, labels)
        return cross_entropy(model(images), shares)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Top-1, top-5 and loss (without smoothing) on the held-out images."""
        assert isinstance(model, GCViT)
        result = evaluate(model.fold(), self.held_out, device=self.device, precision=self.precision)
        return {"top1": result.accuracy.top1, "top5": result.accuracy.top5, "loss": result.loss}

    def save(self, model: nn.Module, folder: Path, metadata: Mapping[str, str]) -> None:
        """Write a hub folder with weights, architecture, labels and preprocessing."""
        assert isinstance(model, GCViT)
        save_hub(model, folder, preprocessing=self.preprocessing, labels=self.labels, metadata=dict(metadata))
