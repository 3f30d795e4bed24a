"""How good a classifier is on held-out images."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from gcvit.engine.device import Precision, autocast, resolve_device
from gcvit.factory import open_model
from gcvit.metrics import Accuracy
from gcvit.tasks.classify.data import evaluation_loader, open_held_out, to_device


@dataclass(frozen=True)
class Evaluation:
    """The result over all images, in the loader's order.

    accuracy: top-1, top-5 and per-class shares. loss: mean cross-entropy.
    labels, predicted: (images,) int64. confidence: (images,) softmax of the predicted class, 0 … 1.
    seconds: of loading and computing together.
    """

    accuracy: Accuracy
    loss: float
    labels: Tensor
    predicted: Tensor
    confidence: Tensor
    seconds: float

    @property
    def images_per_second(self) -> float:
        return len(self.labels) / self.seconds


@dataclass(frozen=True)
class CheckpointEvaluation:
    """What `evaluate_checkpoint` measured.

    model: the architecture's name. size: (height, width) of the input in pixels. images: their number. data: in
    words, which images these were.
    top1, top5: shares, 0 … 1. per_class: top-1 share by class name, of the classes that the data has.
    """

    model: str
    size: tuple[int, int]
    images: int
    data: str
    top1: float
    top5: float
    loss: float
    per_class: dict[str, float]
    images_per_second: float


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    loader: DataLoader,
    *,
    device: torch.device,
    precision: Precision = "auto",
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Classify every image of `loader`, batches of images (batch, 3, height, width) and labels (batch,).

    progress: called with the number of images done after each batch.
    """
    start = time.perf_counter()
    training = model.training
    model.eval()
    accuracy, losses, rows = None, [], []
    for batch in loader:
        images, labels = to_device(batch, device)
        with autocast(device, precision):
            logits = model(images)
        logits = logits.float()
        accuracy = accuracy or Accuracy(logits.shape[1], device)
        accuracy.update(logits, labels)
        losses.append(cross_entropy(logits, labels, reduction="none"))
        sureness, guesses = logits.softmax(1).max(1)
        rows.append((labels, guesses, sureness))
        if progress is not None:
            progress(sum(len(row[0]) for row in rows))
    model.train(training)
    if accuracy is None:
        raise ValueError("there are no images to evaluate on")
    truth, predicted, confidence = (torch.cat(column).cpu() for column in zip(*rows, strict=True))
    loss = torch.cat(losses).double().mean().item()
    return Evaluation(accuracy, loss, truth, predicted, confidence, seconds=time.perf_counter() - start)


def evaluate_checkpoint(
    source: str,
    data: str | None = None,
    *,
    val_fraction: float | None = None,
    seed: int = 0,
    images: int = 1000,
    size: int | tuple[int, int] | None = None,
    batch_size: int = 128,
    workers: int = 0,
    device: str = "auto",
    precision: Precision = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> CheckpointEvaluation:
    """Evaluate a model (a name, hub folder, hub id or checkpoint file) with its own preprocessing.

    data: class folders, or a folder with val/ or test/ of them; None: `images` held-out built-in shapes.
    val_fraction, seed: those of the training run, to evaluate on just what it held out of class folders without
        val/ or test/; None for all images in them.
    size: side or (height, width) in pixels, where the checkpoint's own is not wanted.
    progress: called with (images done, images in all) after each batch.

    Classes are matched by name. Raises ValueError when the data has a class that the checkpoint does not know
    (classes of the checkpoint that the data lacks are fine), and whatever opening the two raises.
    """
    where = resolve_device(device)
    opened = open_model(source)
    preprocessing = opened.preprocessing
    if size is not None:
        preprocessing = replace(preprocessing, size=(size, size) if isinstance(size, int) else size)
    dataset, described = open_held_out(
        data, images=images, size=preprocessing.size, val_fraction=val_fraction, seed=seed
    )
    classes = list(dataset.classes)
    outputs = opened.model.config.num_classes
    labels = _columns(opened.labels, outputs, classes, source=source, data=data or "the built-in shapes")
    loader = evaluation_loader(
        dataset, preprocessing, batch_size=batch_size, workers=workers, device=where, labels=labels
    )
    total = len(dataset)
    result = evaluate(
        opened.model.fold().to(where),
        loader,
        device=where,
        precision=precision,
        progress=None if progress is None else lambda done: progress(done, total),
    )
    per_class = result.accuracy.per_class
    return CheckpointEvaluation(
        model=opened.name,
        size=preprocessing.size,
        images=total,
        data=described,
        top1=result.accuracy.top1,
        top5=result.accuracy.top5,
        loss=result.loss,
        per_class={
            name: share for name, at in zip(classes, labels, strict=True) if (share := per_class[at]) is not None
        },
        images_per_second=result.images_per_second,
    )


def _columns(
    labels: Sequence[str] | None, outputs: int, classes: Sequence[str], *, source: str, data: str
) -> list[int]:
    """For each class of the data the model's output that stands for it."""
    if labels is None:
        if len(classes) != outputs:
            raise ValueError(
                f"{source} has {outputs} outputs and no class names, so {data} needs {outputs} class folders "
                f"in the order of the outputs; it has {len(classes)}"
            )
        return list(range(outputs))
    unknown = [name for name in classes if name not in labels]
    if unknown:
        raise ValueError(
            f"{data} has classes that {source} was not trained on: {_some(unknown)}; it knows {_some(labels)}"
        )
    return [labels.index(name) for name in classes]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
