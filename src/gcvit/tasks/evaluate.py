"""Measures models on held-out pictures, by one process or shared out over several."""

import time
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from gcvit import distributed
from gcvit.data.augment import Transform
from gcvit.data.images import ImageError
from gcvit.data.loading import Loader, to_device
from gcvit.engine.device import autocast, device_name, resolve_device, threads_for
from gcvit.engine.settings import Precision
from gcvit.errors import UserError
from gcvit.internals.of_torch import shut_down_workers
from gcvit.model.config import Pair
from gcvit.tasks.config import BadImages
from gcvit.tasks.evaluation import Evaluation, Unreadable
from gcvit.tasks.opened import Opened
from gcvit.tasks.task import HeldOut, Task


class Batch(NamedTuple):
    """Prepared pictures of one size, (batch, channels, height, width); positions: in the data set."""

    images: Tensor
    targets: Any
    positions: list[int]


class Evaluator:
    """Measures models on one set of pictures. All ranks call it, each with its share; `close` ends its processes.

    A picture's result does not depend on the others: those of one size that follow each other go through the model
    together, and none is padded.

    opened: says how pictures are prepared and what the classes are; `model` in a call may be another one.
    bad_images: whether a picture that cannot be read raises ImageError, which names it, or is left out and listed.
    """

    def __init__(
        self,
        opened: Opened,
        held_out: HeldOut,
        looks: Any,
        *,
        batch_size: int,
        workers: int = 0,
        bad_images: BadImages = "error",
    ) -> None:
        self.opened, self.pictures, self.looks = opened, held_out.pictures, looks
        transform = opened.task.transform(opened, looks)
        self._loader = Loader(
            _Prepared(held_out, opened.task, transform, skip=bad_images == "skip"),
            batch_size,
            sampler=range(distributed.rank(), len(held_out.pictures), distributed.world_size()),
            workers=workers,
            name=held_out.pictures.name,
            collate=_by_size,
        )

    @torch.inference_mode()
    def __call__(
        self,
        model: nn.Module,
        *,
        device: torch.device,
        precision: Precision = "auto",
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Evaluation:
        """Measure a model that is on `device`.

        progress: called with (pictures done, pictures in all) after each batch; estimated from this process's share.
        Raises UserError when there are no pictures or none can be read, and what the task's meter raises.
        """
        start, training = time.perf_counter(), model.training
        model.eval()
        meter = self.opened.task.meter(self.opened, self.looks, self.pictures, device)
        unreadable: list[Unreadable] = []
        done, total, ranks = 0, len(self.pictures), distributed.world_size()
        for parts in self._loader:
            for part in parts:
                if isinstance(part, Unreadable):
                    unreadable.append(part)
                    done += 1
                    continue
                images, targets = to_device((part.images, part.targets), device)
                with autocast(device, precision), threads_for(model, images[:, 0].numel(), device):
                    meter.add(model, images, targets, part.positions)
                done += len(part.positions)
            progress(min(done * ranks, total), total)
        model.train(training)
        left_out = sorted(item for share in distributed.gather(unreadable) for item in share)
        if not total:
            raise UserError("there are no images to evaluate on")
        if len(left_out) == total:
            _, file, reason = left_out[0]
            raise UserError(f"none of the {total:,} images could be read; the first: {file}: {reason}")
        return meter.evaluation(left_out, max(distributed.gather(time.perf_counter() - start)))

    def close(self) -> None:
        """End the processes that load pictures."""
        shut_down_workers(self._loader)


class _Prepared(Dataset):
    """Items (image, target, position), or what is wrong with the picture."""

    def __init__(self, held_out: HeldOut, task: Task, transform: Transform, skip: bool) -> None:
        self.pictures, self.columns = held_out.pictures, held_out.columns
        self.task, self.transform, self.skip = task, transform, skip

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, position: int) -> tuple[Tensor, Any, int] | Unreadable:
        try:
            picture, target = self.pictures[position]
        except ImageError as error:
            if not self.skip:
                raise
            file = self.pictures.name(position)
            return Unreadable(position, file, str(error).removeprefix(f"cannot read image {file}: "))
        return self.transform(picture), self.task.target(target, self.columns), position


def _by_size(items: Sequence[tuple[Tensor, Any, int] | Unreadable]) -> list[Batch | Unreadable]:
    """Items that follow each other and are alike in size, together."""
    return [part for _, alike in groupby(items, _size) for part in _together(list(alike))]


def _size(item: tuple[Tensor, Any, int] | Unreadable) -> object:
    return None if isinstance(item, Unreadable) else (item[0].shape, getattr(item[1], "shape", None))


def _together(alike: list[Any]) -> Iterator[Batch | Unreadable]:
    if isinstance(alike[0], Unreadable):
        yield from alike
        return
    images, targets, positions = zip(*alike, strict=True)
    stacked = torch.stack(targets) if isinstance(targets[0], Tensor) else list(targets)
    yield Batch(torch.stack(images), stacked, list(positions))


@dataclass(frozen=True)
class Measured:
    """A model's evaluation, and how it came about.

    size: (height, width) in pixels of what went through the model, where the task has one. described: the data.
    """

    source: str
    opened: Opened
    looks: Any
    size: Pair | None
    device: str
    precision: Precision
    described: str
    evaluation: Evaluation

    @property
    def title(self) -> str:
        """The model and how it saw the pictures."""
        return self.opened.task.shown(self.opened, self.looks)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON types."""
        result = self.evaluation
        return {
            "source": self.source,
            "task": self.opened.task.name,
            "model": self.opened.name,
            **({"size": list(self.size)} if self.size else {}),
            **self.opened.task.looks_dict(self.opened, self.looks),
            "data": self.described,
            "images": result.measured,
            "unreadable": [{"file": file, "reason": reason} for _, file, reason in result.unreadable],
            **result.to_dict(),
            "images_per_second": result.images_per_second,
        }


def evaluate(
    opened: Opened,
    held_out: HeldOut,
    *,
    looks: Any = None,
    batch_size: int | None = None,
    workers: int = 0,
    bad_images: BadImages = "error",
    device: str = "auto",
    precision: Precision = "auto",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Measured:
    """Measure a trained model on held-out pictures.

    held_out: as the task's `open_held_out` gives them.
    looks: how the model is shown pictures, the task's own dataclass; None: as usual. batch_size: pictures at once.

    With a process group every rank takes its share and returns the result over all pictures. Raises UserError as
    `Evaluator` does.
    """
    task, where = opened.task, resolve_device(device)
    looks = task.looks() if looks is None else looks
    model = opened.folded.to(where)
    if opened.classes is None:
        opened = copy(opened)
        opened.classes = list(held_out.pictures.classes)
    evaluator = Evaluator(
        opened,
        held_out,
        looks,
        batch_size=batch_size or task.at_once,
        workers=workers,
        bad_images=bad_images,
    )
    try:
        found = evaluator(model, device=where, precision=precision, progress=progress)
    finally:
        evaluator.close()
    size = task.size(opened.preprocessing) if task.sized else None
    return Measured(opened.source, opened, looks, size, device_name(where), precision, held_out.described, found)
