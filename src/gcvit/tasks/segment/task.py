"""The segmentation task: its batches, its loss, and how its model is evaluated and saved."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from gcvit.data.label_maps import IGNORED
from gcvit.data.loading import EpochLoader, to_device
from gcvit.engine.loop import Plan
from gcvit.tasks.segment.data import Scenes
from gcvit.tasks.segment.evaluate import Evaluation, Evaluator
from gcvit.tasks.segment.saving import ScenePreprocessing, save_segmenter
from gcvit.tasks.segment.segmenter import SegmentationModel, Segmenter

Batch = tuple[Tensor, Tensor]


class SegmentTask:
    """Softmax classification of every pixel. Batches are crops (batch, 3, h, w) and labels (batch, h, w).

    aux_weight: of the auxiliary head's loss.
    """

    score = "miou"

    def __init__(
        self,
        train: EpochLoader,
        evaluator: Evaluator,
        scenes: Scenes,
        preprocessing: ScenePreprocessing,
        plan: Plan,
        aux_weight: float,
    ) -> None:
        self.train, self.evaluator, self.scenes = train, evaluator, scenes
        self.preprocessing, self.plan, self.aux_weight = preprocessing, plan, aux_weight

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Crops and their labels on the device, from update `start` of the epoch on."""
        return (to_device(batch, self.plan.device) for batch in self.train.epoch(epoch, start))

    def samples(self, epoch: int, update: int) -> list[str]:
        """The scenes of one update, by name."""
        return [self.train.dataset.name(index) for index in self.train.sampler.update(epoch, update)]

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Cross-entropy of the logits at the crop's size, and `aux_weight` times that of the auxiliary head's."""
        images, labels = batch
        output = model(images)
        loss = pixel_loss(output.logits, labels)
        if output.auxiliary is not None:
            loss = loss + self.aux_weight * pixel_loss(output.auxiliary, labels)
        return loss

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """mIoU, mean and pixel accuracy, boundary IoU and loss on the held-out scenes, at their original size."""
        return self.measure(model).metrics

    def measure(self, model: nn.Module) -> Evaluation:
        """All that there is to know of the model on the held-out scenes."""
        assert isinstance(model, SegmentationModel)
        return self.evaluator(model.fold(), device=self.plan.device, precision=self.plan.precision)

    def save(self, model: nn.Module, folder: Path, metadata: Mapping[str, str]) -> None:
        """Write a folder with weights, architecture, classes, their colours and preprocessing."""
        assert isinstance(model, Segmenter)
        save_segmenter(
            model,
            folder,
            classes=self.scenes.classes,
            palette=self.scenes.palette,
            preprocessing=self.preprocessing,
            metadata=dict(metadata),
        )

    def close(self) -> None:
        """End the processes that load images."""
        self.train.close()
        self.evaluator.close()


def pixel_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of logits (batch, classes, any size), resized to the labels' (batch, h, w), over all their pixels.

    Ignored pixels add nothing but count in the mean, as in published training: so it is finite, 0, where all are
    ignored, and each part of an update adds what it would in the whole.
    """
    logits = interpolate(logits, labels.shape[-2:], mode="bilinear", align_corners=False)
    return cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum") / labels.numel()
