"""Average precision of boxes and masks, as COCO measures it: equal to pycocotools in every digit, and with its traps
avoided (annotation ids from 1, masks without boxes beside them, any number of detections)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol

import hotcoco
import numpy as np

from gcvit.metrics.matches import Matches

Kind = Literal["box", "mask"]

AREAS = ("all", "small", "medium", "large")  # of objects: below 32² pixels, to 96², above
SURE = 0.5  # score from which a detection counts as told, where single pictures are judged

# Kinds of error (Bolya et al., 2020) and what the library calls them.
ERRORS = {"class": "Cls", "place": "Loc", "both": "Both", "double": "Dupe", "background": "Bkg", "missed": "Miss"}


class Truth(Protocol):
    """What is in a picture; see `gcvit.data.objects.Objects`."""

    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def xywh(self) -> np.ndarray: ...
    @property
    def labels(self) -> np.ndarray: ...
    @property
    def crowd(self) -> np.ndarray: ...
    @property
    def areas(self) -> np.ndarray: ...
    @property
    def masks(self) -> tuple[bytes, ...] | None: ...


class Result(NamedTuple):
    """A picture and what a model found in it.

    position: of the picture in the data. truth: its objects. xywh: float64 (found, 4), left, top, width, height in the
    picture's own pixels. scores: float64. labels: int64, as the truth's. masks: counts (`gcvit.data.masks`), one for
    each box; None from a model without masks.
    """

    position: int
    truth: Truth
    xywh: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: tuple[bytes, ...] | None = None


class ErrorShare(NamedTuple):
    """number: of such errors. cost: how much higher AP50 would be without them."""

    number: int
    cost: float


class ImageFigures(NamedTuple):
    """A picture at IoU .5 and scores of at least SURE. right, wrong: detections. missed: objects."""

    position: int
    right: int
    wrong: int
    missed: int

    @property
    def f1(self) -> float | None:
        """None for a picture with neither objects nor detections."""
        every = 2 * self.right + self.wrong + self.missed
        return 2 * self.right / every if every else None


@dataclass(frozen=True, eq=False)
class DetectionFigures:
    """How good a model's boxes, or its masks, are; shares of one, and None where there is nothing to measure.

    What costs more than these, errors and matches, is found when it is asked for.

    precision: (IoU .5 … .95, recall 0 … 1 in 101 steps, classes, `AREAS`, most detections), -1 where there is none.
    recall: (IoU, classes, AREAS, most). most: detections of a picture that count, (1, 10, 100). objects: of each class,
    crowds not counted. positions: of the pictures. evaluator: what has matched them.
    """

    kind: Kind
    precision: np.ndarray
    recall: np.ndarray
    most: tuple[int, ...]
    objects: list[int]
    positions: list[int]
    evaluator: hotcoco.COCOeval

    @property
    def ap(self) -> float | None:
        """Mean over classes and IoU .5 … .95."""
        return _mean(self.precision[..., 0, -1])

    @property
    def ap50(self) -> float | None:
        return _mean(self.precision[0, ..., 0, -1])

    @property
    def ap75(self) -> float | None:
        return _mean(self.precision[5, ..., 0, -1])

    def ap_of(self, area: str) -> float | None:
        """AP of objects of one of `AREAS`."""
        return _mean(self.precision[..., AREAS.index(area), -1])

    def ar(self, most: int, area: str = "all") -> float | None:
        """Mean recall with so many detections of a picture, one of `most`."""
        return _mean(self.recall[..., AREAS.index(area), self.most.index(most)])

    @property
    def per_class_ap(self) -> list[float | None]:
        return [_mean(self.precision[:, :, label, 0, -1]) for label in range(len(self.objects))]

    @property
    def per_class_ap50(self) -> list[float | None]:
        return [_mean(self.precision[0, :, label, 0, -1]) for label in range(len(self.objects))]

    @property
    def per_class_ar(self) -> list[float | None]:
        return [_mean(self.recall[:, label, 0, -1]) for label in range(len(self.objects))]

    def curve(self, label: int | None = None, iou: float = 0.5) -> np.ndarray | None:
        """Precision at recall 0, .01 … 1, (101,), of a class or as the mean over classes; None for none."""
        at = round((iou - 0.5) / 0.05)
        found = self.precision[at, :, :, 0, -1]
        found = found[:, found[0] > -1] if label is None else found[:, [label]]
        return found.mean(1) if found.size and found[0, 0] > -1 else None

    @cached_property
    def errors(self) -> dict[str, ErrorShare]:
        """By kind, those of `ERRORS`."""
        found = self.evaluator.tide_errors()
        return {
            name: ErrorShare(int(found["counts"].get(theirs, 0)), float(found["delta_ap"].get(theirs, 0.0)))
            for name, theirs in ERRORS.items()
        }

    @cached_property
    def matches(self) -> Matches:
        """Which detections match, for intervals; half a minute for COCO's 5,000 pictures."""
        kind = "bbox" if self.kind == "box" else "segm"
        single = hotcoco.COCOeval(self.evaluator.coco_gt, self.evaluator.coco_dt, kind)
        single.params.max_dets = [self.most[-1]]
        single.params.area_rng, single.params.area_rng_lbl = [[0.0, 1e10]], ["all"]

        def matched() -> Iterator[list[dict[str, Any]]]:
            for first in range(1, len(self.objects) + 1, 10):  # some at a time, since all together take gigabytes
                some = range(first, min(first + 10, len(self.objects) + 1))
                single.params.cat_ids = list(some)
                single.evaluate()
                found = [one for one in single.eval_imgs if one is not None]
                yield from ([one for one in found if one["category_id"] == ident] for ident in some)

        return Matches.of(matched(), self.positions)

    @property
    def images(self) -> list[ImageFigures]:
        """Of each picture, in the order of the results."""
        rows = zip(self.matches.positions, *self.matches.judged(SURE), strict=True)
        return [ImageFigures(*(int(number) for number in row)) for row in rows]

    @property
    def metrics(self) -> dict[str, float | None]:
        """All of COCO's twelve figures by name: "ap", "ap50", … "ar_large"."""
        sizes = AREAS[1:]
        return {
            "ap": self.ap,
            "ap50": self.ap50,
            "ap75": self.ap75,
            **{f"ap_{area}": self.ap_of(area) for area in sizes},
            **{f"ar{most}": self.ar(most) for most in self.most},
            **{f"ar_{area}": self.ar(self.most[-1], area) for area in sizes},
        }


def measure(results: Sequence[Result], classes: int, kind: Kind = "box", *, most: int = 100) -> DetectionFigures:
    """Measure what a model found in all pictures.

    Results of several processes are gathered first (`gcvit.distributed.gather`) and sorted by position: the figures are
    exact, whoever computed what.

    Args:
        results: of each picture one, in their order in the data, which decides between equal scores.
        classes: number of them.
        kind: "box", or "mask" where truth and results have masks.
        most: detections of a picture that count, the surest ones.

    Raises ValueError for no pictures, and for masks that are not there.
    """
    if not results:
        raise ValueError("no pictures to measure on")
    if kind == "mask" and any(one.masks is None or one.truth.masks is None for one in results):
        raise ValueError("there are no masks to measure")
    truth = _truth(results, classes, kind)
    numbers = {one.position: image for image, one in enumerate(results, 1)}  # for ids, as in `_truth`
    boxes, masks = coco_results(results, numbers.__getitem__, lambda label: label + 1)
    found = truth.load_res(boxes if kind == "box" else masks)
    whole = hotcoco.COCOeval(truth, found, "bbox" if kind == "box" else "segm")
    whole.params.max_dets = limits = sorted({1, 10, most} if most > 10 else {1, most})
    whole.evaluate()
    whole.accumulate()
    table = whole.eval
    assert table is not None
    labels = np.concatenate([one.truth.labels[~one.truth.crowd] for one in results])
    return DetectionFigures(
        kind=kind,
        precision=np.asarray(table["precision"]),
        recall=np.asarray(table["recall"]),
        most=tuple(limits),
        objects=np.bincount(labels, minlength=classes).tolist(),
        positions=[one.position for one in results],
        evaluator=whole,
    )


def coco_results(
    results: Sequence[Result], image_id: Callable[[int], Any], category_id: Callable[[int], Any]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What was found, as COCO's results have it: one list of boxes and one of masks, for a file each, since pycocotools
    takes the boxes' areas for the masks' where a file has both.

    image_id: of a position. category_id: of a label.
    """
    boxes, masks = [], []
    for one in results:
        rows = zip(one.xywh.tolist(), one.scores.tolist(), one.labels.tolist(), strict=True)
        for number, (box, score, label) in enumerate(rows):
            found = {"image_id": image_id(one.position), "category_id": category_id(label), "score": score}
            boxes.append({**found, "bbox": box})
            if one.masks is not None:
                counts = one.masks[number].decode()
                masks.append({**found, "segmentation": {"size": list(one.truth.size), "counts": counts}})
    return boxes, masks


def _truth(results: Sequence[Result], classes: int, kind: Kind) -> hotcoco.COCO:
    """Pictures are numbered from 1, and so are classes and annotations: an annotation 0 would never be matched."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image, one in enumerate(results, 1):
        truth, (height, width) = one.truth, one.truth.size
        images.append({"id": image, "height": height, "width": width, "file_name": ""})
        columns = (truth.xywh.tolist(), truth.labels.tolist(), truth.crowd.tolist(), truth.areas.tolist())
        for number, (box, label, crowd, area) in enumerate(zip(*columns, strict=True)):
            found = {"id": len(annotations) + 1, "image_id": image, "category_id": label + 1, "bbox": box}
            found |= {"iscrowd": int(crowd), "area": area}
            if kind == "mask":
                assert truth.masks is not None
                found["segmentation"] = {"size": [height, width], "counts": truth.masks[number].decode()}
            annotations.append(found)
    categories = [{"id": label + 1, "name": str(label)} for label in range(classes)]
    return hotcoco.COCO({"images": images, "annotations": annotations, "categories": categories})


def _mean(values: np.ndarray) -> float | None:
    """As pycocotools takes it, which says -1 where there is nothing."""
    known = values[values > -1]
    return float(np.mean(known)) if len(known) else None
