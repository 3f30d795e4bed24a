"""The loss of classification: cross-entropy, with mixup, cutmix, label smoothing and class weights."""

from collections.abc import Sequence

import torch
from timm.data import Mixup
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gcvit.engine.loop import Plan
from gcvit.errors import UserError
from gcvit.tasks.classify.config import ClassifyConfig
from gcvit.tasks.task import Data

Batch = tuple[Tensor, Tensor]


class ClassifyLoss:
    """Softmax classification of images (batch, channels, height, width) with labels (batch,).

    With balanced class weights an image counts the more the rarer its class is (see `balanced_weights`); a mixed image
    counts as its parts do, by their shares.
    """

    def __init__(self, config: ClassifyConfig, data: Data, plan: Plan) -> None:
        """Raises UserError where images, which are mixed in pairs, cannot be."""
        augment, share = config.augment, plan.share
        if augment.mixes and share.micro_batch % 2:
            raise UserError(
                f"mixup and cutmix take images in pairs, but batch_size {config.batch_size} gives {share.micro_batch} "
                f"to each of {share.ranks} processes × {share.passes} passes; make it a multiple of "
                f"{2 * share.passes * share.ranks}"
            )
        self.label_smoothing = augment.label_smoothing
        self.mix = (
            Mixup(
                mixup_alpha=augment.mixup,
                cutmix_alpha=augment.cutmix,
                prob=augment.mix_prob,
                switch_prob=augment.mix_switch_prob,
                label_smoothing=0.0,  # the loss does it, after the class weights have seen the shares as they are
                num_classes=len(data.classes),
            )
            if augment.mixes
            else None
        )
        self.class_weights: Tensor | None = None
        if config.class_weights == "balanced":
            labels = [data.train.label(index) for index in range(len(data.train))]  # type: ignore[attr-defined]
            self.class_weights = balanced_weights(labels, len(data.classes)).to(plan.device)

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Mean over the images of (weight ×) cross-entropy. Mixing draws from the global generators."""
        images, target = batch if self.mix is None else self.mix(*batch)  # labels, or shares of all classes
        smoothing, weights = self.label_smoothing, self.class_weights
        if weights is None:
            return {"class": cross_entropy(model(images), target, label_smoothing=smoothing)}
        counts = weights[target] if target.ndim == 1 else (target * weights).sum(1)
        # Divided by the images, not by their weights, so that each part of an update adds what it would in the whole.
        losses = cross_entropy(model(images), target, label_smoothing=smoothing, reduction="none")
        return {"class": (counts * losses).mean()}


def balanced_weights(labels: Sequence[int], classes: int) -> Tensor:
    """The weight of each class's images, (classes,) float32: inversely proportional to their number, and 1 on average
    over the images. A class without images weighs nothing."""
    counts = torch.bincount(torch.tensor(labels), minlength=classes).double()
    weights = len(labels) / ((counts > 0).sum() * counts)
    return torch.where(counts > 0, weights, 0).float()
