"""The pictures of a detector: those of a run, and those that a checkpoint is measured on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gcvit.data.coco_pictures import open_coco, open_coco_held_out
from gcvit.data.detect_scenes import ObjectScenes
from gcvit.data.detect_transforms import EvalDetection, TrainDetection
from gcvit.data.objects import Objects
from gcvit.data.pixels import Picture
from gcvit.errors import UserError
from gcvit.tasks.classes import match_classes
from gcvit.tasks.detect.config import DetectConfig
from gcvit.tasks.detect.objects import Targets
from gcvit.tasks.detect.settings import DetectPreprocessing
from gcvit.tasks.opened import Opened
from gcvit.tasks.task import Data, HeldOut

BUILT_IN = "the built-in scenes"


def open_pictures(config: DetectConfig) -> Data:
    """Open the built-in scenes, or the folder or annotation file that the configuration names.

    Raises UserError, naming it, for one that cannot be trained on (see `open_coco`), and where a model is to learn
    masks and there are none.
    """
    train: Any
    held_out: Any
    if config.data is None:
        train = ObjectScenes("train", config.train_images, config.scene_size)
        held_out = ObjectScenes("val", config.val_images, config.scene_size)
        remarks: list[str] = []
    else:
        train, held_out = open_coco(
            config.data,
            config.reading,
            val_fraction=config.val_fraction,
            seed=config.seed,
            masks=config.head.masks,
        )
        remarks = train.remarks.lines()
    if config.head.masks and not train.has_masks:
        raise UserError(f"{config.data}: its objects have boxes alone, no masks; add --no-masks")
    pictures = [part.with_pixels(config.pixels) for part in (train, held_out)]
    return Data(pictures[0], pictures[1], config.data or BUILT_IN, list(train.classes), train.palette, remarks)


def open_held_out(config: DetectConfig, opened: Opened, *, share: bool) -> HeldOut:
    """Open what a detector is measured on; see `Task.open_held_out`."""
    assert opened.classes is not None
    model: Any = opened.model
    pictures: Any
    if config.data is None:
        pictures, described = ObjectScenes("val", config.val_images, config.scene_size), BUILT_IN
        remarks: list[str] = []
    else:
        fraction = config.val_fraction if share else None
        pictures, described = open_coco_held_out(
            config.data,
            config.reading,
            val_fraction=fraction,
            seed=config.seed,
            masks=model.head_config.masks,
        )
        remarks = pictures.remarks.lines()
    data = config.data or described
    columns = match_classes(opened.classes, len(opened.classes), pictures.classes, source=opened.source, data=data)
    return HeldOut(pictures.with_pixels(opened.pixels), described, columns, remarks)


def numbered(objects: Objects, columns: Sequence[int] | None) -> Objects:
    """With labels that are the numbers of a model's outputs; see `HeldOut`."""
    return objects if columns is None else replace(objects, labels=np.asarray(columns, np.int64)[objects.labels])


@dataclass(frozen=True)
class Varied:
    """Turns a picture and its objects into what a batch is made of, varied at random."""

    transform: TrainDetection

    def __call__(self, picture: Picture, objects: Objects) -> tuple[Tensor, Targets]:
        """The seed of what is drawn later, on the model's device, follows from the sample's, too."""
        found = self.transform(picture, objects)
        masks = None if found.masks is None else found.masks.bool()
        return found.image, Targets(found.boxes, found.labels, masks, int(torch.randint(2**62, ()).item()))


def as_seen(prepared: DetectPreprocessing, *, exported: bool) -> EvalDetection:
    """What turns a picture into what goes through the model, or through an exported file, at its upper left."""
    room = prepared.size if exported else None
    return EvalDetection(prepared.short, prepared.long, prepared.mean, prepared.std, room)


def varied(config: DetectConfig, preprocessing: DetectPreprocessing) -> Varied:
    """What turns a picture with its objects into one for training."""
    augment = config.augment
    return Varied(
        TrainDetection(
            short=augment.short,
            long=config.long,
            hflip=augment.hflip,
            crop=augment.cut,
            before=augment.before,
            sides=augment.sides,
            mean=preprocessing.mean,
            std=preprocessing.std,
            masks=config.head.masks,
        )
    )
