"""How good a detector is on held-out pictures."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isnan, nan
from typing import Any, ClassVar

from matplotlib.figure import Figure
from torch import Tensor, nn

from gcvit.data.objects import Objects
from gcvit.metrics.detection import DetectionFigures, ImageFigures, Result, coco_results, measure
from gcvit.metrics.matches import intervals
from gcvit.tasks import page
from gcvit.tasks.detect.charts import draw_curves, draw_errors, draw_sheet
from gcvit.tasks.detect.inference import found_in
from gcvit.tasks.evaluation import CSV, Evaluation, Meter, Number, Table, Unreadable, six_digits
from gcvit.wording import percent, plural, rate

SHOWN = 6  # of the worst pictures, and of those spread over all
DRAWS = 200  # of an interval by bootstrap
MEANINGS = {
    "AP": "mean over classes and IoU .5 to .95",
    "AP50": "at IoU .5",
    "AP75": "at IoU .75",
}


@dataclass(frozen=True)
class DetectEvaluation(Evaluation):
    """A detector's figures, and what it found in every picture.

    results: in the order of the data. box, mask: their figures; mask is None for a model or data without masks.
    """

    results: list[Result]
    box: DetectionFigures
    mask: DetectionFigures | None

    FEW: ClassVar[int] = 30

    @property
    def measured(self) -> int:
        return len(self.results)

    @property
    def kinds(self) -> dict[str, DetectionFigures]:
        """By name."""
        return {"box": self.box} | ({} if self.mask is None else {"mask": self.mask})

    @property
    def metrics(self) -> dict[str, float | None]:
        return {name: value for name, value in self._figures().items() if "_ar" not in name}

    def _figures(self) -> dict[str, float | None]:
        """All of COCO's twelve, of boxes and of masks."""
        return {f"{kind}_{name}": value for kind, found in self.kinds.items() for name, value in found.metrics.items()}

    @cached_property
    def ranked(self) -> list[ImageFigures]:
        """The pictures with objects or detections, the worst first."""
        known = [one for one in self.box.images if one.f1 is not None]
        return sorted(known, key=lambda one: (one.f1 or 0.0, one.position))

    @cached_property
    def interval(self) -> dict[str, tuple[float, float]]:
        """Of the box AP and AP50, 95% of what other pictures of the same kind would give."""
        found = intervals(self.box.matches, DRAWS, 0)
        return {name: (one.low, one.high) for name, one in found.items()}

    def numbers(self) -> list[Number]:
        rows = []
        for kind, found in self.kinds.items():
            for name, value in (("AP", found.ap), ("AP50", found.ap50), ("AP75", found.ap75)):
                rows.append(Number(f"{kind} {name}", percent(value), MEANINGS[name]))
        sizes = [f"{percent(self.box.ap_of(area))} {area}" for area in ("small", "medium", "large")]
        rows.append(Number("box AP by size", ", ".join(sizes), "objects below 32² pixels, to 96², above"))
        most = self.box.most[-1]
        rows.append(Number(f"box AR{most}", percent(self.box.ar(most)), f"of the objects found, {most} boxes each"))
        rows.append(Number("speed", f"{rate(self.images_per_second)}/s", "images evaluated, loading included"))
        return rows

    def basis(self) -> str:
        classes = sum(number > 0 for number in self.box.objects)
        return (
            f"{plural(self.measured, 'held-out image')} at their own size, "
            f"{plural(sum(self.box.objects), 'object')} of {plural(classes, 'class', 'es')}{self.left_out}"
        )

    def per_class(self) -> Table:
        rows = sorted(self._class_rows(), key=lambda row: (row[2] is not None, row[2] or 0.0))
        cells = [
            [name, f"{number:,}", *(percent(value) for value in values)] for name, number, *values in rows if number
        ]
        mask = [">mask AP"] if self.mask else []
        return Table(["class", ">objects", ">box AP", ">AP50", ">AR", *mask], cells)

    def charts(self, title: str) -> dict[str, Figure]:
        return {
            "predictions": draw_sheet(self, self.shown, title=title),
            "precision_recall": draw_curves(self.kinds, title=title),
            "errors": draw_errors(self.kinds, title=title),
        }

    @property
    def shown(self) -> list[tuple[str, Result]]:
        """Pictures to look at, with what is said of them: the worst, and some spread over all."""
        by_position = {one.position: one for one in self.results}
        worst = self.ranked[:SHOWN]
        others = self.ranked[SHOWN:]
        spread = others[:: max(1, len(others) // SHOWN)][:SHOWN]
        return [
            (f"{one.right} right, {one.wrong} wrong, {one.missed} missed", by_position[one.position])
            for one in (*worst, *spread)
        ]

    def sections(self) -> list[str]:
        low, high = self.interval.get("ap", (nan, nan))
        curves = page.figure(draw_curves(self.kinds, title=""), "precision over recall")
        errors = page.figure(draw_errors(self.kinds, title=""), "what each kind of error costs")
        between = f"<p>Box AP of other pictures of this kind: {low:.1%} to {high:.1%} (95%).</p>"
        sheet = page.figure(draw_sheet(self, self.shown, title=""), "pictures with truth and answer", kind="jpeg")
        return [
            "" if isnan(low) else between,
            f"<h2>Images: the worst, and others</h2>{sheet}",
            page.classes_table(*self.per_class()),
            f"<h2>Precision and recall</h2>{curves}",
            f"<h2>Kinds of error</h2>{errors}",
        ]

    def tables(self) -> dict[str, CSV]:
        classes = [[name, number, *map(six_digits, values)] for name, number, *values in self._class_rows()]
        images = [
            [self.pictures.name(one.position), one.right, one.wrong, one.missed, six_digits(one.f1)]
            for one in self.box.images
        ]
        mask = ["mask_ap"] if self.mask else []
        return {
            "per_class": CSV(["class", "objects", "box_ap", "box_ap50", "box_ar", *mask], classes),
            "images": CSV(["file", "right", "wrong", "missed", "f1"], images),
        }

    def files(self) -> dict[str, bytes]:
        """COCO's results, boxes and masks in a file each, with the data's own ids."""
        pictures: Any = self.pictures
        place = {name: label for label, name in enumerate(pictures.classes)}
        named = not place.keys().isdisjoint(self.classes)  # else they go by their numbers
        theirs = [place.get(name) if named else label for label, name in enumerate(self.classes)]
        ids = [None if label is None else pictures.category_id(label) for label in theirs]
        boxes, masks = coco_results(self.results, pictures.image_id, ids.__getitem__)
        found = {"boxes.json": boxes} | ({"masks.json": masks} if self.mask else {})
        # Classes that the data do not have have no number there.
        known = {name: [row for row in rows if row["category_id"] is not None] for name, rows in found.items()}
        return {name: json.dumps(rows).encode() for name, rows in known.items()}

    def to_dict(self) -> dict[str, Any]:
        return {
            "objects": sum(self.box.objects),
            **self._figures(),
            "per_class": {name: values[0] for name, number, *values in self._class_rows() if number},
        }

    def _class_rows(self) -> list[Any]:
        """(name, objects, box AP, AP50, AR[, mask AP]) of each class."""
        masks = [self.mask.per_class_ap] if self.mask else []
        columns = (self.box.per_class_ap, self.box.per_class_ap50, self.box.per_class_ar, *masks)
        return list(zip(self.classes, self.box.objects, *columns, strict=True))


class DetectMeter(Meter):
    """Keeps what is found and what is there."""

    def add(self, model: nn.Module, images: Tensor, targets: Sequence[Objects], positions: Sequence[int]) -> None:
        """targets: the objects of each picture, at its own size, numbered as the model's classes."""
        rows = found_in(self.opened, model, images, targets[0].size, self.looks)
        for found, truth, position in zip(rows, targets, positions, strict=True):
            xywh = found.boxes.copy()
            xywh[:, 2:] -= xywh[:, :2]
            self.rows.append(Result(position, truth, xywh, found.scores, found.labels, found.masks))

    def evaluation(self, unreadable: list[Unreadable], seconds: float) -> DetectEvaluation:
        """The result over all ranks. Raises UserError where no picture could be read."""
        rows, classes = self.all_rows(), len(self.opened.names)
        model: Any = self.opened.model
        most = self.looks.max_detections or model.head_config.detections
        masked = all(row.masks is not None and row.truth.masks is not None for row in rows)
        return DetectEvaluation(
            pictures=self.pictures,
            classes=self.opened.names,
            palette=self.opened.palette,
            unreadable=unreadable,
            seconds=seconds,
            results=rows,
            box=measure(rows, classes, most=most),
            mask=measure(rows, classes, "mask", most=most) if masked else None,
        )
