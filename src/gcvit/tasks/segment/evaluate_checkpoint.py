"""From a checkpoint and a folder of scenes to figures that can be compared."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gcvit import distributed
from gcvit.data.labelled import listed
from gcvit.data.scenes import ShapeScenes
from gcvit.data.segment import open_segmentation_held_out
from gcvit.data.segment_folders import generic_names
from gcvit.engine.device import Precision, device_name, resolve_device
from gcvit.tasks.segment.charts import most_confused
from gcvit.tasks.segment.data import LabelledScenes
from gcvit.tasks.segment.evaluate import Evaluation, Evaluator
from gcvit.tasks.segment.inference import Looks, Mode
from gcvit.tasks.segment.saving import OpenedSegmenter, open_segmenter
from gcvit.tasks.unreadable import BadImages


@dataclass(frozen=True)
class HeldOut:
    """Which scenes to measure on, and how to read their labels: see `open_segmentation_held_out`.

    path: of the scenes; None: `images` held-out built-in scenes.
    """

    path: str | None = None
    images: int = 200
    val_fraction: float | None = None
    seed: int = 0
    classes_file: str | None = None
    ignore_label: int | None = 255
    zero_is_ignored: bool | None = None

    def open(self, size: tuple[int, int], classes: Sequence[str]) -> tuple[LabelledScenes, str]:
        """The scenes, and in words what they are; built-in ones of `size`, others with `classes` where they have no
        names. Raises ValueError for what is no such."""
        if self.path is None:
            return ShapeScenes("val", self.images, size), "the built-in scenes"
        return open_segmentation_held_out(
            self.path,
            classes_file=self.classes_file,
            ignore_label=self.ignore_label,
            zero_is_ignored=self.zero_is_ignored,
            val_fraction=self.val_fraction,
            seed=self.seed,
            classes=classes,
        )


@dataclass(frozen=True)
class CheckpointEvaluation:
    """What `evaluate_checkpoint` measured.

    source: the checkpoint. opened: its model, classes and colours. looks: how it was shown the images.
    data: in words, which images these were. scenes: the images. result: all figures, and every image's.
    """

    source: str
    opened: OpenedSegmenter
    looks: Looks
    device: str
    precision: Precision
    data: str
    scenes: LabelledScenes
    result: Evaluation

    @property
    def name(self) -> str:
        """The model's."""
        return f"UPerNet on {self.opened.name}"

    @property
    def parameters(self) -> int:
        """Their number, with those of heads for training."""
        return sum(parameter.numel() for parameter in self.opened.model.parameters())

    @property
    def images(self) -> int:
        """Number of images that were evaluated."""
        return len(self.result.images)

    @property
    def per_class(self) -> dict[str, float]:
        """IoU by class name, of the classes that are or were predicted."""
        found = zip(self.opened.classes, self.result.counts.per_class_iou, strict=True)
        return {name: iou for name, iou in found if iou is not None}

    def measures(self) -> dict[str, Any]:
        """All figures as plain JSON types."""
        result, looks, classes = self.result, self.looks, self.opened.classes
        return {
            "source": self.source,
            "model": self.opened.name,
            "mode": looks.mode,
            **({"window": list(looks.window), "stride": list(looks.steps)} if looks.mode == "slide" else {}),
            "scales": list(looks.scales),
            "flip": looks.flip,
            "data": self.data,
            "images": self.images,
            "labelled_pixels": result.counts.pixels,
            "unreadable": [{"file": file, "reason": reason} for _, file, reason in result.unreadable],
            **result.metrics,
            "images_per_second": result.images_per_second,
            "per_class": self.per_class,
            "most_confused": [
                {"class": classes[truth], "taken_for": classes[guess], "pixels": pixels}
                for truth, guess, pixels in most_confused(result.counts, 20)
            ],
        }


@dataclass(frozen=True)
class Candidate:
    """A checkpoint that fits the data, before it is measured. columns: the model's logit of each class of the data."""

    source: str
    opened: OpenedSegmenter
    scenes: LabelledScenes
    data: str
    columns: list[int]


def open_candidate(source: str, held_out: HeldOut) -> Candidate:
    """The checkpoint and its images. Raises ValueError for whatever `evaluate_checkpoint` would refuse of the two."""
    opened = open_segmenter(source)
    scenes, described = held_out.open(opened.preprocessing.crop, opened.classes)
    columns = match_classes(opened.classes, scenes.classes, source=source, data=held_out.path or described)
    return Candidate(source, opened, scenes, described, columns)


def evaluate_checkpoint(
    source: str,
    held_out: HeldOut,
    *,
    mode: Mode = "whole",
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    bad_images: BadImages = "error",
    batch_size: int = 4,
    workers: int = 0,
    device: str = "auto",
    precision: Precision = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> CheckpointEvaluation:
    """Measure a segmentation checkpoint; see `Evaluator`.

    source: what `open_segmenter` takes. progress: called with (images done, images in all) after each batch; estimated
    from this process's share.

    With a process group every rank takes its share and returns the result over all images. Raises ValueError for
    classes that do not fit (see `match_classes`), and whatever opening the two raises.
    """
    where = resolve_device(device)
    candidate = open_candidate(source, held_out)
    total, ranks = len(candidate.scenes), distributed.world_size()
    evaluator = Evaluator(
        candidate.scenes,
        candidate.opened.preprocessing,
        mode=mode,
        scales=scales,
        flip=flip,
        classes=len(candidate.opened.classes),
        columns=candidate.columns,
        batch_size=batch_size,
        workers=workers,
        bad_images=bad_images,
    )
    try:
        result = evaluator(
            candidate.opened.model.fold().to(where),
            device=where,
            precision=precision,
            progress=None if progress is None else lambda done: progress(min(done * ranks, total), total),
        )
    finally:
        evaluator.close()
    return CheckpointEvaluation(
        source=source,
        opened=candidate.opened,
        looks=evaluator.looks,
        device=device_name(where),
        precision=precision,
        data=candidate.data,
        scenes=evaluator.scenes,
        result=result,
    )


def match_classes(known: Sequence[str], found: Sequence[str], *, source: str, data: str) -> list[int]:
    """For each class that is found in the data, the model's logit that stands for it: that of the same name, or where
    one of the two has no names ("class 0" …), of the same number.

    Raises ValueError, saying what both have, for classes that the model does not know, and for another number of them.
    """
    if all(list(names) != generic_names(len(names)) for names in (known, found)):
        place = {name: label for label, name in enumerate(known)}
        if unknown := [name for name in found if name not in place]:
            raise ValueError(
                f"{data}: classes that {source} was not trained on, {listed(unknown)}; it knows {listed(known)}. Other "
                "pictures are given as --data PATH"
            )
        return [place[name] for name in found]
    if len(known) != len(found):
        raise ValueError(
            f"{source} knows {len(known)} classes, {listed(known)}, and {data} has {len(found)}, {listed(found)}; "
            "where one of them has no names, there must be as many: a classes.txt in the data names them"
        )
    return list(range(len(found)))
