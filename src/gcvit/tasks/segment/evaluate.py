"""How good a segmentation model is on held-out scenes, computed by one process or shared out over several."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from math import fsum, isfinite
from typing import NamedTuple

import torch
from torch import Tensor

from gcvit import distributed
from gcvit.data.loading import end_workers
from gcvit.engine.device import Precision, autocast
from gcvit.metrics import SegmentationCounts
from gcvit.tasks.segment.data import LabelledScenes
from gcvit.tasks.segment.held_out import HeldOutScene, held_out_loader
from gcvit.tasks.segment.inference import Looks, Mode, Size, segment_pixels
from gcvit.tasks.segment.saving import ScenePreprocessing
from gcvit.tasks.segment.segmenter import SegmentationModel
from gcvit.tasks.unreadable import BadImages, Unreadable
from gcvit.tasks.wording import plural

FEW = 30  # images; with fewer the figures are mostly chance
SHOWN = 4  # of the worst, of the middling and of the best images
SAMPLE = 24  # images that the middling ones are chosen from


class SceneResult(NamedTuple):
    """One image: its place in the dataset, its labelled pixels, and scores that are None where there are none.

    loss: sum of the pixels' cross-entropy.
    """

    position: int
    pixels: int
    miou: float | None
    pixel_accuracy: float | None
    loss: float


class Shown(NamedTuple):
    """An image's classes as they were predicted and as they are, (height, width) int16 each."""

    predicted: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Evaluation:
    """The result over all images that could be read, in the dataset's order, the same on every rank.

    counts: of all their pixels, at the images' own sizes. images: each one's result.
    shown: by position, the images in `worst`, `middling` and `best`, among others.
    unreadable: the images that were left out. seconds: of loading and computing together, of the slowest rank.
    """

    counts: SegmentationCounts
    images: list[SceneResult]
    shown: Mapping[int, Shown]
    unreadable: list[Unreadable]
    seconds: float

    @property
    def metrics(self) -> dict[str, float]:
        """mIoU, mean and pixel accuracy, boundary IoU (0 … 1) and the loss."""
        counts = self.counts
        return {
            "miou": counts.miou,
            "mean_accuracy": counts.mean_accuracy,
            "pixel_accuracy": counts.pixel_accuracy,
            "boundary_iou": counts.boundary_iou,
            "loss": self.loss,
        }

    @property
    def loss(self) -> float:
        """Mean cross-entropy of the labelled pixels."""
        return fsum(image.loss for image in self.images) / self.counts.pixels

    @property
    def worst(self) -> list[SceneResult]:
        """The images with the lowest mIoU, the worst first."""
        return _ranked(self.images)[:SHOWN]

    @property
    def best(self) -> list[SceneResult]:
        """The images with the highest mIoU that are not among the worst, the best first."""
        return _ranked(self.images)[SHOWN:][::-1][:SHOWN]

    @property
    def middling(self) -> list[SceneResult]:
        """Those nearest to the median mIoU, of some that are spread evenly over all images."""
        ranked = _ranked(self.images)
        extremes = {image.position for image in (*self.worst, *self.best)}
        places = {image.position: place for place, image in enumerate(ranked)}
        others = [image for image in ranked if image.position in self.shown and image.position not in extremes]
        return sorted(others, key=lambda image: abs(places[image.position] - len(ranked) / 2))[:SHOWN]

    @property
    def images_per_second(self) -> float:
        return len(self.images) / self.seconds

    @property
    def caution(self) -> str | None:
        """What to say of figures that rest on few images."""
        if len(self.images) >= FEW:
            return None
        return f"Only {plural(len(self.images), 'image')}: the figures are rough; with others they may change much."


class Evaluator:
    """Measures models on one set of scenes. All ranks call it, each with its share; `close` ends its processes.

    An image's result does not depend on the others: those of one size that follow each other go through the model
    together, up to batch_size, and none is padded.

    classes: number of the models' logits; None: as many as the scenes have. columns: for each class of the scenes the
    logit that stands for it; None: that of its own number.
    mode, stride, scales, flip: as in `Looks`; windows are of the size of the crops that the model was trained on.
    """

    def __init__(
        self,
        scenes: LabelledScenes,
        preprocessing: ScenePreprocessing,
        *,
        mode: Mode = "whole",
        stride: Size | None = None,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        classes: int | None = None,
        columns: Sequence[int] | None = None,
        batch_size: int = 4,
        workers: int = 0,
        bad_images: BadImages = "error",
    ) -> None:
        self.looks = Looks(mode, preprocessing.crop, stride, tuple(scales), flip)
        self.scenes, self.classes, self.batch_size = scenes, classes or len(scenes.classes), batch_size
        even = range(0, len(scenes), max(1, len(scenes) // SAMPLE))
        self._sample = frozenset(even[:SAMPLE])
        self._loader = held_out_loader(scenes, preprocessing, workers=workers, columns=columns, bad_images=bad_images)

    @torch.inference_mode()
    def __call__(
        self,
        model: SegmentationModel,
        *,
        device: torch.device,
        precision: Precision = "auto",
        progress: Callable[[int], None] | None = None,
    ) -> Evaluation:
        """Segment every scene.

        progress: called with the number of this rank's images done after each batch.
        Raises ValueError when there are no images, none can be read, no pixel is labelled, or the logits are not
        finite.
        """
        start = time.perf_counter()
        training = model.training
        model.eval()
        counts, unreadable = SegmentationCounts(self.classes, device), []
        rows: list[SceneResult] = []
        shown: dict[int, Shown] = {}
        for sizes, alike in groupby(self._loader, _sizes):
            while batch := list(islice(alike, self.batch_size)):
                if sizes is None:
                    unreadable += batch
                else:
                    for row, one, maps in self._measure(model, batch, device, precision):
                        counts.add(one)
                        rows.append(row)
                        shown[row.position] = maps
                    shown = self._worth_showing(rows, shown)
                if progress is not None:
                    progress(len(rows) + len(unreadable))
        model.train(training)
        return _together(counts, rows, shown, unreadable, start)

    def close(self) -> None:
        """End the processes that load images."""
        end_workers(self._loader)

    def _measure(
        self, model: SegmentationModel, batch: Sequence[HeldOutScene], device: torch.device, precision: Precision
    ) -> list[tuple[SceneResult, SegmentationCounts, Shown]]:
        """Results of scenes of one size: for each its row, its counts and its classes."""
        images = torch.stack([scene.image for scene in batch]).to(device, non_blocking=True)
        labels = torch.stack([scene.labels for scene in batch]).to(device, non_blocking=True)
        size = labels.shape[1], labels.shape[2]
        with autocast(device, precision):
            predicted, losses = segment_pixels(model, images, size, self.looks, labels)
        assert losses is not None
        found = []
        for scene, guess, truth, loss in zip(
            batch, predicted, labels, losses.double().sum((1, 2)).tolist(), strict=True
        ):
            counts = SegmentationCounts(self.classes, device)
            counts.update(guess, truth)
            miou, accuracy = (counts.miou, counts.pixel_accuracy) if counts.pixels else (None, None)
            row = SceneResult(scene.position, counts.pixels, miou, accuracy, loss)
            found.append((row, counts, Shown(guess.cpu(), scene.labels)))
        return found

    def _worth_showing(self, rows: Sequence[SceneResult], shown: Mapping[int, Shown]) -> dict[int, Shown]:
        """The worst and the best so far, and those of the sample."""
        ranked = [row.position for row in _ranked(rows)]
        wanted = self._sample.union(ranked[:SHOWN], ranked[-SHOWN:])
        return {position: maps for position, maps in shown.items() if position in wanted}


def _sizes(item: HeldOutScene | Unreadable) -> tuple[torch.Size, torch.Size] | None:
    return None if isinstance(item, Unreadable) else (item.image.shape, item.labels.shape)


def _ranked(rows: Sequence[SceneResult]) -> list[SceneResult]:
    """Those that have a mIoU, the worst first."""
    return sorted((row for row in rows if row.miou is not None), key=lambda row: (row.miou, row.position))


def _together(
    counts: SegmentationCounts,
    rows: list[SceneResult],
    shown: Mapping[int, Shown],
    unreadable: list[Unreadable],
    start: float,
) -> Evaluation:
    """One result from the ranks' shares; a rank may have had none."""
    counts.confusion = distributed.total(counts.confusion).cpu()
    counts.boundary = distributed.total(counts.boundary).cpu()
    images = sorted(row for share in distributed.gather(rows) for row in share)
    left_out = sorted(item for share in distributed.gather(unreadable) for item in share)
    if not images and left_out:
        _, file, reason = left_out[0]
        raise ValueError(f"none of the {len(left_out):,} images could be read; the first: {file}: {reason}")
    if not images:
        raise ValueError("there are no images to evaluate on")
    if not counts.pixels:
        raise ValueError(
            f"no pixel of the {plural(len(images), 'image')} is labelled, all are ignored: give the right class names "
            "and ignore label; `gcvit doctor segment` shows what the label files hold"
        )
    if broken := sum(not isfinite(image.loss) for image in images):
        raise ValueError(
            f"the model's answers to {broken:,} of {len(images):,} images are not finite numbers: its weights are "
            f"damaged or its training diverged; in bf16, try fp32"
        )
    together = {position: maps for share in distributed.gather(dict(shown)) for position, maps in share.items()}
    return Evaluation(counts, images, together, left_out, max(distributed.gather(time.perf_counter() - start)))
