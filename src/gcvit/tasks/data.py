"""What a run trains on and a model is measured on, whatever the task: its built-in pictures, or those at `--data`."""

from collections.abc import Callable
from typing import Any

from gcvit.data.shapes import Drawings
from gcvit.tasks.classes import match_classes
from gcvit.tasks.config import RunConfig
from gcvit.tasks.opened import Opened
from gcvit.tasks.task import Data, HeldOut

Draw = Callable[[str, int], Drawings]  # a split, and how many


def training_data(config: RunConfig, draw: Draw, read: Callable[..., tuple[Any, Any]]) -> Data:
    """What a run trains on and holds out.

    draw: makes built-in pictures. read: opens `config.data`, both parts, given val_fraction and seed; it raises
    UserError for what cannot be trained on.
    """
    if config.data is None:
        found: tuple[Any, Any] = draw("train", config.train_images), draw("val", config.val_images)
    else:
        found = read(config.data, val_fraction=config.val_fraction, seed=config.seed)
    train, held_out = (part.with_pixels(config.pixels) for part in found)
    name = config.data or train.called
    return Data(train, held_out, name, list(train.classes), getattr(train, "palette", None), train.remarks.lines())


def held_out_data(
    config: RunConfig, opened: Opened, outputs: int, draw: Draw, read: Callable[..., tuple[Any, str]], *, share: bool
) -> HeldOut:
    """What a model with so many outputs is measured on; see `Task.open_held_out`.

    draw: as above. read: opens the held-out part of `config.data`, and says what it is.
    """
    if config.data is None:
        pictures: Any = draw("val", config.val_images)
        described = pictures.called
    else:
        fraction = config.val_fraction if share else None
        pictures, described = read(config.data, val_fraction=fraction, seed=config.seed)
    data = config.data or described
    columns = match_classes(opened.classes, outputs, pictures.classes, source=opened.source, data=data)
    return HeldOut(pictures.with_pixels(opened.pixels), described, columns, pictures.remarks.lines())
