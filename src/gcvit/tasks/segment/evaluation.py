"""How good a segmentation model is on held-out scenes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from gcvit import distributed
from gcvit.errors import UserError
from gcvit.metrics import SegmentationCounts
from gcvit.tasks import page
from gcvit.tasks.confusion import LABELLED
from gcvit.tasks.evaluation import CSV, Evaluation, Meter, Number, Table, Unreadable, check_finite, six_digits
from gcvit.tasks.opened import Opened
from gcvit.tasks.segment.charts import draw_confusion, draw_ious, most_confused
from gcvit.tasks.segment.inference import segment_pixels
from gcvit.tasks.segment.pictures import draw_sheet
from gcvit.tasks.segment.settings import SegmentLooks
from gcvit.tasks.task import Pictures
from gcvit.wording import percent, plural, rate

SHOWN = 4  # of the worst, of the middling and of the best images
SAMPLE = 24  # images that the middling ones are chosen from


class SceneResult(NamedTuple):
    """One image: its place in the data set, its labelled pixels, and scores that are None where there are none.

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
class SegmentEvaluation(Evaluation):
    """A segmentation model's figures, and every image's.

    counts: of all their pixels, at the images' own sizes. images: each one's result.
    shown: by position, the images in `worst`, `middling` and `best`, among others.
    """

    counts: SegmentationCounts
    images: list[SceneResult]
    shown: Mapping[int, Shown]

    FEW: ClassVar[int] = 30

    @property
    def measured(self) -> int:
        return len(self.images)

    @property
    def loss(self) -> float:
        """Mean cross-entropy of the labelled pixels."""
        return fsum(image.loss for image in self.images) / self.counts.pixels

    @property
    def worst(self) -> list[SceneResult]:
        """The images with the lowest mIoU, the worst first."""
        return ranked(self.images)[:SHOWN]

    @property
    def best(self) -> list[SceneResult]:
        """The images with the highest mIoU that are not among the worst, the best first."""
        return ranked(self.images)[SHOWN:][::-1][:SHOWN]

    @property
    def middling(self) -> list[SceneResult]:
        """Those nearest to the median mIoU, of some that are spread evenly over all images."""
        rows = ranked(self.images)
        extremes = {image.position for image in (*self.worst, *self.best)}
        places = {image.position: place for place, image in enumerate(rows)}
        others = [image for image in rows if image.position in self.shown and image.position not in extremes]
        return sorted(others, key=lambda image: abs(places[image.position] - len(rows) / 2))[:SHOWN]

    @property
    def metrics(self) -> dict[str, float | None]:
        counts = self.counts
        return {
            "miou": counts.miou,
            "mean_accuracy": counts.mean_accuracy,
            "pixel_accuracy": counts.pixel_accuracy,
            "boundary_iou": counts.boundary_iou,
            "loss": self.loss,
        }

    def numbers(self) -> list[Number]:
        counts = self.counts
        return [
            Number("mIoU", percent(counts.miou), "intersection over union, mean over classes"),
            Number("boundary IoU", percent(counts.boundary_iou), "the same within 2% of the diagonal along edges"),
            Number("mean accuracy", percent(counts.mean_accuracy), "every class weighs the same"),
            Number("pixel accuracy", percent(counts.pixel_accuracy), "every pixel weighs the same"),
            Number("loss", f"{self.loss:.4f}", "mean cross-entropy of the pixels"),
            Number("speed", f"{rate(self.images_per_second)}/s", "images evaluated, loading included"),
        ]

    def basis(self) -> str:
        classes = sum(share is not None for share in self.counts.per_class_accuracy)
        return (
            f"{plural(self.measured, 'held-out image')} at their own size, {self.counts.pixels:,} labelled pixels of "
            f"{plural(classes, 'class', 'es')}{self.left_out}"
        )

    def per_class(self) -> Table:
        rows = [row for row in self._class_rows() if row[1] is not None]
        rows.sort(key=lambda row: row[1] or 0.0)
        cells = [
            [name, percent(iou), percent(accuracy), percent(edges or 0.0), f"{pixels / self.counts.pixels:.2%}"]
            for name, iou, accuracy, edges, pixels in rows
        ]
        return Table(["class", ">IoU", ">accuracy", ">boundary IoU", ">share of pixels"], cells)

    def confused(self, count: int) -> Table:
        pixels = self.counts.confusion.sum(1).tolist()
        rows = [
            [self.classes[truth], self.classes[guess], f"{n / self.counts.pixels:.2%}", f"{n / pixels[truth]:.1%}"]
            for truth, guess, n in most_confused(self.counts, count)
        ]
        return Table(["most confused", "taken for", ">of all pixels", ">of the class"], rows)

    def charts(self, title: str) -> dict[str, Figure]:
        images = [(f"{heading}: {name}", result) for heading, group in self.groups for name, result in group]
        return {
            "predictions": draw_sheet(images, self, title=title),
            "classes": draw_ious(self.counts, self.classes, title=title),
            "confusion": draw_confusion(self.counts, self.classes, title=title),
        }

    def sections(self) -> list[str]:
        counts, mistakes = self.counts, self.confused(10)
        few = int((counts.confusion.sum(0) + counts.confusion.sum(1)).count_nonzero()) <= LABELLED
        return [
            *(self._sheet(heading, images) for heading, images in self.groups),
            page.classes_table(*self.per_class()),
            page.figure(draw_ious(counts, self.classes, title=""), "IoU of the classes"),
            "<h2>What is taken for what</h2>",
            page.figure(draw_confusion(counts, self.classes, title=""), "confusion of classes") if few else "",
            page.table(*mistakes) if mistakes.rows else "",
        ]

    @property
    def groups(self) -> list[tuple[str, list[tuple[str, SceneResult]]]]:
        """The images to look at, in groups: (heading, (name, result))."""
        groups = {"the worst": self.worst, "near the median": self.middling, "the best": self.best}
        return [
            (heading, [(Path(self.pictures.name(image.position)).name, image) for image in images])
            for heading, images in groups.items()
            if images
        ]

    def _sheet(self, heading: str, images: list[tuple[str, SceneResult]]) -> str:
        described = f"pictures, truth and prediction: {heading}"
        sheet = page.figure(draw_sheet(images, self, title=""), described, kind="jpeg")
        return f"<h2>Images: {heading}</h2>{sheet}"

    def tables(self) -> dict[str, CSV]:
        classes = [
            [name, pixels, *map(six_digits, (pixels / self.counts.pixels, iou, accuracy, edges))]
            for name, iou, accuracy, edges, pixels in self._class_rows()
        ]
        images = [
            [
                self.pictures.name(image.position),
                image.pixels,
                *map(six_digits, (image.miou, image.pixel_accuracy, _loss(image))),
            ]
            for image in self.images
        ]
        return {
            "per_class": CSV(["class", "pixels", "share", "iou", "accuracy", "boundary_iou"], classes),
            "images": CSV(["file", "labelled_pixels", "miou", "pixel_accuracy", "loss"], images),
        }

    def to_dict(self) -> dict[str, Any]:
        shares = zip(self.classes, self.counts.per_class_iou, strict=True)
        return {
            "labelled_pixels": self.counts.pixels,
            **self.metrics,
            "per_class": {name: iou for name, iou in shares if iou is not None},
            "most_confused": [
                {"class": self.classes[truth], "taken_for": self.classes[guess], "pixels": pixels}
                for truth, guess, pixels in most_confused(self.counts, 20)
            ],
        }

    def _class_rows(self) -> list[tuple[str, float | None, float | None, float | None, int]]:
        """(name, IoU, accuracy, boundary IoU, pixels) of each class."""
        counts = self.counts
        columns = (counts.per_class_iou, counts.per_class_accuracy, counts.per_class_boundary_iou)
        return list(zip(self.classes, *columns, counts.confusion.sum(1).tolist(), strict=True))


class SegmentMeter(Meter):
    """Counts pixels as they are and as a model says."""

    def __init__(self, opened: Opened, looks: SegmentLooks, pictures: Pictures, device: torch.device) -> None:
        super().__init__(opened, looks.of(opened), pictures, device)
        self.counts = SegmentationCounts(len(opened.names), device)
        self.shown: dict[int, Shown] = {}
        even = range(0, len(pictures), max(1, len(pictures) // SAMPLE))
        self._sample = frozenset(even[:SAMPLE])

    def add(self, model: nn.Module, images: Tensor, targets: Tensor, positions: Sequence[int]) -> None:
        """targets: (batch, height, width) int16 at the scenes' own size."""
        predicted, _, losses = segment_pixels(model, images, (targets.shape[1], targets.shape[2]), self.looks, targets)
        assert losses is not None
        for position, guess, truth, loss in zip(
            positions, predicted, targets, losses.double().sum((1, 2)).tolist(), strict=True
        ):
            counts = SegmentationCounts(self.counts.classes, images.device)
            counts.update(guess, truth)
            self.counts.add(counts)
            miou, accuracy = (counts.miou, counts.pixel_accuracy) if counts.pixels else (None, None)
            self.rows.append(SceneResult(position, counts.pixels, miou, accuracy, loss))
            self.shown[position] = Shown(guess.cpu(), truth.cpu())
        order = [row.position for row in ranked(self.rows)]
        wanted = self._sample.union(order[:SHOWN], order[-SHOWN:])
        self.shown = {position: maps for position, maps in self.shown.items() if position in wanted}

    def evaluation(self, unreadable: list[Unreadable], seconds: float) -> SegmentEvaluation:
        """The result over all ranks. Raises UserError when no pixel is labelled or the logits are not finite."""
        counts = self.counts
        counts.confusion = distributed.total(counts.confusion).cpu()
        counts.boundary = distributed.total(counts.boundary).cpu()
        images = self.all_rows()
        if not counts.pixels:
            raise UserError(
                f"no pixel of the {plural(len(images), 'image')} is labelled, all are ignored: give the right class "
                "names and ignore label; `gcvit doctor` shows what the label files hold"
            )
        check_finite([image.loss for image in images])
        together = {position: maps for share in distributed.gather(self.shown) for position, maps in share.items()}
        return SegmentEvaluation(
            pictures=self.pictures,
            classes=self.opened.names,
            palette=self.opened.palette,
            unreadable=unreadable,
            seconds=seconds,
            counts=counts,
            images=images,
            shown=together,
        )


def ranked(rows: Sequence[SceneResult]) -> list[SceneResult]:
    """Those that have a mIoU, the worst first."""
    return sorted((row for row in rows if row.miou is not None), key=lambda row: (row.miou, row.position))


def _loss(image: SceneResult) -> float | None:
    return image.loss / image.pixels if image.pixels else None
