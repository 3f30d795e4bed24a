"""A trained model that is ready for use, whatever its task and runtime, and what it says of pictures."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from io import BytesIO
from itertools import groupby
from numbers import Integral
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from gcvit.data.images import ImageError, load_picture, picture_in_memory
from gcvit.data.members import FileInMemory
from gcvit.data.pixels import RGB, Picture, as_rgb, size_of
from gcvit.data.settings import RGB8, PixelFormat
from gcvit.engine.device import autocast, cores, resolve_device, threads_for
from gcvit.engine.settings import Precision
from gcvit.errors import UserError, require
from gcvit.files import write_atomically
from gcvit.model.config import Pair, check_sides
from gcvit.weights.catalogue import CatalogueEntry

if TYPE_CHECKING:
    from gcvit.tasks.task import Task

Given = str | Path | FileInMemory | Image.Image | np.ndarray | Tensor
"""A file, on disk or in memory; or a picture itself: arrays are (height, width[, channels]) uint8, tensors (channels,
height, width) of uint8 or of floats from 0 to 1 (see `gcvit.data.images.picture_in_memory`)."""


@dataclass(frozen=True)
class Answer(ABC):
    """What a model says of one picture. source: the picture, as it was given; pixels: how the model reads it."""

    source: Given = field(repr=False)
    pixels: PixelFormat = field(default=RGB8, repr=False, kw_only=True)

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON types; "file" is the picture's, None where it had none."""

    @abstractmethod
    def draw(self) -> Image.Image:
        """The picture with what is said of it."""

    @abstractmethod
    def line(self) -> str:
        """The answer on one line, without the file's name."""

    def save(self, stem: Path) -> dict[str, str]:
        """Write the drawn picture as STEM.png, with what belongs to it. Returns the paths by what they are."""
        path, content = Path(f"{stem}.png"), BytesIO()
        self.draw().save(content, "PNG")
        write_atomically(path, content.getvalue())
        return {"drawn": str(path)}

    @property
    def file(self) -> str | None:
        """The picture's file, where it has one."""
        return str(self.source) if isinstance(self.source, str | Path | FileInMemory) else None

    @property
    def picture(self) -> Image.Image:
        """The picture for people, RGB; read again where it is a file."""
        return as_rgb(read(self.source, self.pixels))


class Failure(NamedTuple):
    """A picture of which nothing can be said. error: why, in one line that names the file."""

    source: Given
    error: str


@dataclass(eq=False, repr=False)
class Opened:
    """A trained model with its classes and preprocessing.

    task: its description. model: in eval mode; what runs an exported file takes its place. name: the variant that it is
    or stands on. preprocessing: how its pictures are prepared, the task's own dataclass. classes: names in the order of
    the outputs, None where nobody knows them or there are none. palette: a colour for each, where the task has any.
    source: where it came from. entry: its row in the catalogue of published checkpoints, if it has one. exported: it
    runs an exported file, on the CPU.
    """

    task: "Task"
    model: nn.Module
    name: str
    preprocessing: Any
    classes: list[str] | None = None
    _: KW_ONLY
    palette: list[RGB] | None = None
    source: str = ""
    entry: CatalogueEntry | None = None
    exported: bool = False

    @cached_property
    def folded(self) -> nn.Module:
        """A frozen, faster copy of the model for inference, made at the first call."""
        return self.model if self.exported else self.task.fold(self.model)

    def resized(self, size: Pair) -> "Opened":
        """The same model with another size (height, width) in pixels of its input. Raises UserError for an exported
        file, which has one."""
        if self.exported:
            raise UserError(f"--size: {self.source} takes one size; leave it out, or export the model at another")
        check_sides(*size)
        other = copy(self)
        other.preprocessing = self.task.resized(self.preprocessing, size)
        return other

    @property
    def names(self) -> list[str]:
        """The classes, of a task whose models have them all."""
        assert self.classes is not None
        return self.classes

    @property
    def pixels(self) -> PixelFormat:
        """How its pictures are read."""
        return PixelFormat(len(self.preprocessing.mean), self.preprocessing.value_range)

    @property
    def parameters(self) -> int:
        """The number of the model's weights."""
        return sum(weight.numel() for weight in self.model.parameters())

    def predict(
        self,
        pictures: Given | Iterable[Given],
        *,
        looks: Any = None,
        telling: Any = None,
        batch_size: int | None = None,
        device: str = "auto",
        precision: Precision = "auto",
        progress: bool = False,
    ) -> Any:
        """Say what the model sees: an answer for one picture, a list of them for several, in their order.

        pictures: files, PIL images, arrays or tensors (see `Given`). looks, telling: the task's own dataclasses, such
        as `ClassifyLooks(tta="flip")`; None: as usual. batch_size: pictures of one size computed at once. progress:
        show a bar.

        Raises UserError for the first picture that cannot be read; `answers` goes on.
        """
        several = hasattr(pictures, "__iter__") or hasattr(pictures, "__getitem__")
        one = isinstance(pictures, Given) or not several
        given: list[Given] = [pictures] if one else list(pictures)  # type: ignore[arg-type,list-item]
        answers = self.answers(
            given, looks=looks, telling=telling, batch_size=batch_size, device=device, precision=precision
        )
        found = []
        shown = Console(stderr=True)
        for item in track(answers, "predicting", len(given), console=shown, disable=not progress, transient=True):
            if isinstance(item, Failure):
                raise UserError(item.error)
            found.append(item)
        return found[0] if one else found

    @torch.inference_mode()
    def answers(
        self,
        pictures: Sequence[Given],
        *,
        looks: Any = None,
        telling: Any = None,
        batch_size: int | None = None,
        device: str = "auto",
        precision: Precision = "auto",
    ) -> Iterator[Answer | Failure]:
        """One answer for each picture, in order and as they come, or why there is none. Arguments as for `predict`."""
        task, where = self.task, self._device(device)
        looks = task.looks() if looks is None else looks
        telling = task.telling() if telling is None else telling
        for key, value, kind in (("looks", looks, task.looks), ("telling", telling, task.telling)):
            require(isinstance(value, kind), key, value, f"a {kind.__name__}, or None")
        fits = batch_size is None or (isinstance(batch_size, Integral) and batch_size > 0)
        require(fits, "batch_size", batch_size, "a whole number of at least 1, or None")
        require(precision in get_args(Precision), "precision", precision, " or ".join(get_args(Precision)))
        transform, model = task.transform(self, looks), self.folded.to(where).eval()
        for batch in read_ahead(pictures, self.pixels, transform, batch_size or task.at_once):
            for size, alike in groupby(batch, _size):
                if size is None:
                    yield from alike  # type: ignore[misc]  # failures
                    continue
                group: list[Prepared] = list(alike)  # type: ignore[arg-type]
                images = torch.stack([item.image for item in group]).to(where)
                with autocast(where, precision), threads_for(model, images[:, 0].numel(), where):
                    answers = task.answer(self, model, images, group, looks, telling)
                yield from answers

    def _device(self, name: str) -> torch.device:
        if self.exported and name not in ("auto", "cpu"):
            raise UserError(f"device {name!r}: exported files run on the CPU here; take the checkpoint for a GPU")
        return torch.device("cpu") if self.exported else resolve_device(name)


class Prepared(NamedTuple):
    """A picture, what goes through the model of it, (channels, height, width), and its own size (height, width)."""

    source: Given
    image: Tensor
    size: tuple[int, int]


def _size(item: Prepared | Failure) -> object:
    return None if isinstance(item, Failure) else (item.image.shape, item.size)


MOST_THREADS = 32
_IN_MEMORY = Lock()  # a PIL image may still have to be decoded, which two threads cannot do at once


def read(source: Given, pixels: PixelFormat) -> Picture:
    if isinstance(source, str | Path | FileInMemory):
        return load_picture(source, pixels)
    with _IN_MEMORY:
        return picture_in_memory(source, pixels)


def read_ahead(
    pictures: Sequence[Given], pixels: PixelFormat, transform: Callable[[Picture], Tensor], batch_size: int
) -> Iterator[list[Prepared | Failure]]:
    """Batches of prepared pictures; while one is computed, threads (Pillow releases the lock) decode the next."""

    def prepare(source: Given) -> Prepared | Failure:
        try:
            picture = read(source, pixels)
        except ImageError as error:
            return Failure(source, str(error))
        return Prepared(source, transform(picture), size_of(picture)[::-1])

    threads = min(cores(), MOST_THREADS)  # each may hold a large picture, several times over
    with ThreadPoolExecutor(threads) as pool:
        waiting: list[Future[Prepared | Failure]] = []
        for start in range(0, len(pictures), batch_size):
            ready, waiting = waiting, [pool.submit(prepare, item) for item in pictures[start : start + batch_size]]
            if ready:
                yield [future.result() for future in ready]
        yield [future.result() for future in waiting]


class Program(nn.Module):
    """An exported function in the place of a model: images to the one tensor that it gives."""

    def __init__(self, program: Callable[[Tensor], list[Tensor]]) -> None:
        super().__init__()
        self.program = program

    def forward(self, images: Tensor) -> Tensor:
        (output,) = self.program(images)
        return output
