"""IoU and accuracies of a segmentation, from whole counts of pixels, and of those near the edge of what they show."""

from math import hypot

import torch
from torch import Tensor
from torch.nn.functional import pad

from gcvit.wording import by

FRAME = -2  # around the image: neither a class nor ignored
SHARE = 0.02  # of the image's diagonal


class SegmentationCounts:
    """Pixels by their class and by what they were taken for. Negative labels are ignored: they count nowhere.

    Sums of counts are counts: images in any order, or the shares of several processes, add up to the exact result.

    Attributes:
        confusion: int64 (classes, classes), pixels of class i that were taken for class j.
        boundary: int64 (classes, 2), pixels in which the bands along the class's edges, true and predicted, agree, and
            pixels in either band (Cheng et al., 2021).
    """

    def __init__(self, classes: int, device: torch.device | str = "cpu") -> None:
        self.confusion = torch.zeros(classes, classes, dtype=torch.int64, device=device)
        self.boundary = torch.zeros(classes, 2, dtype=torch.int64, device=device)

    def update(self, predicted: Tensor, labels: Tensor) -> None:
        """Add an image at its own size: classes (height, width) as predicted and as they are, of any integer type.

        Raises ValueError for maps of two sizes and for a class that there is not.
        """
        classes = self.classes
        if predicted.shape != labels.shape:
            sides, others = by(predicted.shape), by(labels.shape)
            raise ValueError(f"the prediction is {sides} pixels and its labels are {others}; they must be of one size")
        if not labels.numel():
            return
        labelled = labels >= 0
        predicted, labels = predicted.long(), labels.long()
        for what, values in (("label", labels.clamp(min=0)), ("prediction", predicted)):
            for value in map(int, values.aminmax()):
                if not 0 <= value < classes:
                    raise ValueError(f"there are {classes} classes, 0 to {classes - 1}; a {what} is {value}")
        pairs = torch.bincount(labels[labelled] * classes + predicted[labelled], minlength=classes**2)
        self.confusion += pairs.view(classes, classes)

        # What is ignored is cut out of both alike, so that it makes no edge in one only.
        width = boundary_width(*labels.shape)
        true_band = boundary(labels, width) & labelled
        band = boundary(predicted.where(labelled, labels), width) & labelled
        agree = torch.bincount(labels[true_band & band & (predicted == labels)], minlength=classes)
        true, found = (torch.bincount(part, minlength=classes) for part in (labels[true_band], predicted[band]))
        self.boundary += torch.stack([agree, true + found - agree], dim=1)

    def add(self, other: "SegmentationCounts") -> None:
        """Add the counts of other images."""
        self.confusion += other.confusion
        self.boundary += other.boundary

    @property
    def classes(self) -> int:
        """Number of classes, with or without pixels."""
        return len(self.confusion)

    @property
    def pixels(self) -> int:
        """Number of labelled pixels."""
        return int(self.confusion.sum())

    @property
    def per_class_iou(self) -> list[float | None]:
        """Intersection over union of each class, 0 … 1; None where it neither is nor was predicted."""
        agree = self.confusion.diagonal()
        return _shares(agree, self.confusion.sum(0) + self.confusion.sum(1) - agree)

    @property
    def per_class_accuracy(self) -> list[float | None]:
        """Share of each class's pixels, 0 … 1, that are predicted as such; None for a class without pixels."""
        return _shares(self.confusion.diagonal(), self.confusion.sum(1))

    @property
    def per_class_boundary_iou(self) -> list[float | None]:
        """As `per_class_iou`, of the bands along the edges only."""
        return _shares(*self.boundary.unbind(1))

    @property
    def miou(self) -> float:
        """Mean IoU of the classes that are or were predicted. Raises ValueError without labelled pixels."""
        return self._mean(self.per_class_iou)

    @property
    def mean_accuracy(self) -> float:
        """Mean accuracy of the classes that have pixels. Raises ValueError without labelled pixels."""
        return self._mean(self.per_class_accuracy)

    @property
    def boundary_iou(self) -> float:
        """Mean boundary IoU of the classes that are or were predicted. Raises ValueError without labelled pixels."""
        return self._mean(self.per_class_boundary_iou)

    @property
    def pixel_accuracy(self) -> float:
        """Share of the labelled pixels, 0 … 1, that are predicted rightly. Raises ValueError without such pixels."""
        return self._mean([int(self.confusion.diagonal().sum()) / self.pixels] if self.pixels else [])

    def _mean(self, shares: list[float | None]) -> float:
        known = [share for share in shares if share is not None]
        if not known:
            raise ValueError("no pixel is labelled, all are ignored; so there is no IoU and no accuracy")
        return sum(known) / len(known)


def _shares(parts: Tensor, wholes: Tensor) -> list[float | None]:
    return [part / whole if whole else None for part, whole in zip(parts.tolist(), wholes.tolist(), strict=True)]


def boundary_width(height: int, width: int) -> int:
    """Pixels that the band along an edge is wide: 2% of the diagonal, at least 1."""
    return max(1, round(SHARE * hypot(height, width)))


def boundary(labels: Tensor, width: int) -> Tensor:
    """Whether each pixel is within `width` pixels of another label or of the image's border, (height, width) bool.

    labels: (height, width), whole numbers. That is each label's mask less its erosion by a square of 2·width + 1
    pixels with zeros around the image, for all labels at once. The time does not depend on `width`.
    """
    height, breadth = labels.shape
    framed = pad(labels, (1, 1, 1, 1), value=FRAME)
    top, bottom = _reach(height, width, labels.device)
    left, right = _reach(breadth, width, labels.device)
    # A square shows one label when no two neighbours in it differ, neither side by side nor one above the other.
    beside = _within(framed[:, 1:] != framed[:, :-1], top, bottom + 1, left, right)
    above = _within(framed[1:] != framed[:-1], top, bottom, left, right + 1)
    return (beside | above).bool()


def _reach(length: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The first and the last pixel of each pixel's square along one side, in the framed image."""
    places = torch.arange(1, length + 1, device=device)
    return (places - width).clamp(min=0), (places + width).clamp(max=length + 1)


def _within(marks: Tensor, top: Tensor, bottom: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Number of marks in rows top … bottom - 1 and columns left … right - 1 of each pixel, from sums over corners."""
    sums = pad(marks.cumsum(0, dtype=torch.int32).cumsum(1, dtype=torch.int32), (1, 0, 1, 0))
    rows = sums[bottom] - sums[top]
    return rows[:, right] - rows[:, left]
