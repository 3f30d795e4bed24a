"""From a checkpoint and a folder of images to figures that can be compared."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gcvit import distributed
from gcvit.data.labelled import listed
from gcvit.data.loading import end_workers
from gcvit.engine.device import Precision, device_name, resolve_device
from gcvit.factory import OpenedModel, open_model
from gcvit.metrics import most_confused
from gcvit.tasks.classify.data import Pictures
from gcvit.tasks.classify.evaluate import Evaluation, evaluate
from gcvit.tasks.classify.held_out import evaluation_loader, open_held_out
from gcvit.tasks.classify.inference import TTA
from gcvit.tasks.classify.names import class_names
from gcvit.tasks.sources import checkpoint_path
from gcvit.tasks.unreadable import BadImages
from gcvit.weights.preprocessing import Preprocessing


@dataclass(frozen=True)
class CheckpointEvaluation:
    """What `evaluate_checkpoint` measured.

    source: the checkpoint. model: the architecture's name. size: (height, width) of the input in pixels.
    data: in words, which images these were. held_out: the images. names: the classes by label.
    shown: labels of the classes that the data has. parameters: their number.
    result: all figures, and every image's.
    """

    source: str
    model: str
    parameters: int
    size: tuple[int, int]
    tta: TTA
    device: str
    precision: Precision
    data: str
    held_out: Pictures
    names: list[str]
    shown: list[int]
    result: Evaluation

    @property
    def images(self) -> int:
        """Number of images that were evaluated."""
        return self.result.accuracy.images

    @property
    def top1(self) -> float:
        """Share of images, 0 … 1, that the model names rightly."""
        return self.result.accuracy.top1

    @property
    def top5(self) -> float | None:
        """Share of images, 0 … 1, whose class is among the five likeliest; None where that says nothing."""
        return self.result.accuracy.top5 if len(self.names) > 5 else None

    @property
    def loss(self) -> float:
        """Mean cross-entropy."""
        return self.result.loss

    @property
    def images_per_second(self) -> float:
        return self.result.images_per_second

    @property
    def per_class(self) -> dict[str, float]:
        """Top-1 share by class name, of the classes that have images."""
        shares = self.result.accuracy.per_class
        return {self.names[at]: share for at in self.shown if (share := shares[at]) is not None}

    def measures(self) -> dict[str, Any]:
        """All figures as plain JSON types; `top5` is null where it says nothing."""
        result = self.result
        return {
            "source": self.source,
            "model": self.model,
            "size": list(self.size),
            "tta": self.tta,
            "data": self.data,
            "images": self.images,
            "unreadable": [{"file": file, "reason": reason} for _, file, reason in result.unreadable],
            "top1": self.top1,
            "top1_interval": list(result.top1_interval),
            "top5": self.top5,
            "mean_per_class": result.accuracy.mean_per_class,
            "ece": result.calibration.error,
            "loss": self.loss,
            "images_per_second": self.images_per_second,
            "per_class": self.per_class,
            "most_confused": [
                {"class": self.names[truth], "taken_for": self.names[guess], "images": images}
                for truth, guess, images in most_confused(result.labels, result.predicted, 20)
            ],
        }


@dataclass(frozen=True)
class Candidate:
    """A checkpoint that fits the data, before it is measured.

    names: the classes by output. columns: the model's output of each class of the data.
    """

    source: str
    opened: OpenedModel
    preprocessing: Preprocessing
    held_out: Pictures
    data: str
    names: list[str]
    columns: list[int]


def open_candidate(
    source: str,
    data: str | None = None,
    *,
    val_fraction: float | None = None,
    seed: int = 0,
    images: int = 1000,
    size: int | tuple[int, int] | None = None,
) -> Candidate:
    """The checkpoint and its images. Raises ValueError for whatever `evaluate_checkpoint` would refuse of the two."""
    opened = open_model(checkpoint_path(source))
    preprocessing = opened.preprocessing
    if size is not None:
        preprocessing = replace(preprocessing, size=(size, size) if isinstance(size, int) else size)
    if opened.model.config.num_classes == 0:
        raise ValueError(f"{source} has no classes (num_classes=0), only features; give a classifier")
    held_out, described = open_held_out(
        data, images=images, size=preprocessing.size, val_fraction=val_fraction, seed=seed
    )
    classes = list(held_out.classes)
    names = class_names(opened)
    columns = _columns(
        names, opened.model.config.num_classes, classes, source=source, data=data or "the built-in shapes"
    )
    return Candidate(source, opened, preprocessing, held_out, described, names or classes, columns)


def evaluate_checkpoint(
    source: str,
    data: str | None = None,
    *,
    val_fraction: float | None = None,
    seed: int = 0,
    images: int = 1000,
    size: int | tuple[int, int] | None = None,
    tta: TTA = "none",
    bad_images: BadImages = "error",
    batch_size: int = 128,
    workers: int = 0,
    device: str = "auto",
    precision: Precision = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> CheckpointEvaluation:
    """Evaluate a model (a name, hub folder, run's folder, hub id or checkpoint file) with its own preprocessing.

    data: class folders, or a folder with val/ or test/ of them; None: `images` held-out built-in shapes.
    val_fraction, seed: those of the training run, to evaluate on just what it held out of class folders without
        val/ or test/; None for all images in them.
    size: side or (height, width) in pixels, where the checkpoint's own is not wanted.
    tta: flip averages the softmax of each image and its mirror image.
    bad_images: skip leaves out, counts and lists the images that cannot be read; error raises on the first.
    progress: called with (images done, images in all) after each batch; estimated from this process's share.

    With a process group every rank takes its share and returns the result over all images.

    Classes are matched by name, those of published weights by ImageNet's folder names (n01440764, …). Raises
    ValueError when the data has a class that the checkpoint does not know (classes of the checkpoint that the data
    lacks are fine), and whatever opening the two raises.
    """
    where = resolve_device(device)
    candidate = open_candidate(source, data, val_fraction=val_fraction, seed=seed, images=images, size=size)
    opened, held_out, columns = candidate.opened, candidate.held_out, candidate.columns
    loader = evaluation_loader(
        held_out,
        candidate.preprocessing,
        batch_size=batch_size,
        workers=workers,
        device=where,
        labels=columns,
        bad_images=bad_images,
    )
    total, ranks = len(held_out), distributed.world_size()
    try:
        result = evaluate(
            opened.model.fold().to(where),
            loader,
            device=where,
            precision=precision,
            tta=tta,
            progress=None if progress is None else lambda done: progress(min(done * ranks, total), total),
        )
    finally:
        end_workers(loader)
    return CheckpointEvaluation(
        source=source,
        model=opened.name,
        parameters=sum(parameter.numel() for parameter in opened.model.parameters()),
        size=candidate.preprocessing.size,
        tta=tta,
        device=device_name(where),
        precision=precision,
        data=candidate.data,
        held_out=held_out,
        names=candidate.names,
        shown=columns,
        result=result,
    )


def _columns(names: Sequence[str] | None, outputs: int, classes: Sequence[str], *, source: str, data: str) -> list[int]:
    """For each class of the data the model's output that stands for it."""
    if names is None:
        if len(classes) != outputs:
            raise ValueError(
                f"{source} has {outputs} outputs and no class names, so {data} needs {outputs} class folders "
                f"in the order of the outputs; it has {len(classes)}"
            )
        return list(range(outputs))
    outputs_by_name = {name: output for output, name in enumerate(names)}
    unknown = [name for name in classes if name not in outputs_by_name]
    if unknown:
        raise ValueError(
            f"{data} has classes that {source} was not trained on: {listed(unknown)}; it knows {listed(names)}"
        )
    return [outputs_by_name[name] for name in classes]
