"""The pictures of a detector: those of a run, and those that a checkpoint is measured on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gcvit.data.coco_pictures import open_coco, open_coco_held_out
from gcvit.data.detect_transforms import TrainDetection
from gcvit.data.objects import Objects
from gcvit.data.pixels import Picture
from gcvit.data.scenes import ObjectScenes
from gcvit.errors import UserError
from gcvit.tasks.data import held_out_data, training_data
from gcvit.tasks.detect.config import DetectConfig
from gcvit.tasks.detect.objects import Targets
from gcvit.tasks.detect.settings import DetectPreprocessing
from gcvit.tasks.opened import Opened
from gcvit.tasks.task import Data, HeldOut


def open_pictures(config: DetectConfig) -> Data:
    """Open the built-in scenes, or the folder or annotation file that the configuration names.

    Raises UserError, naming it, for one that cannot be trained on (see `open_coco`), and where a model is to learn
    masks and there are none.
    """
    masks = config.head.masks
    read = partial(open_coco, reading=config.reading, masks=masks)
    data = training_data(config, partial(ObjectScenes, size=config.scene_size), read)
    train: Any = data.train
    if masks and not train.has_masks:
        raise UserError(f"{config.data}: its objects have boxes alone, no masks; add --no-masks")
    return data


def open_held_out(config: DetectConfig, opened: Opened, *, share: bool) -> HeldOut:
    """Open what a detector is measured on; see `Task.open_held_out`."""
    model: Any = opened.model
    read = partial(open_coco_held_out, reading=config.reading, masks=model.head_config.masks)
    drawn = partial(ObjectScenes, size=config.scene_size)
    return held_out_data(config, opened, len(opened.names), drawn, read, share=share)


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


def varied(config: DetectConfig, preprocessing: DetectPreprocessing) -> Varied:
    """What turns a picture with its objects into one for training."""
    augment = config.augment
    return Varied(
        TrainDetection(
            short=augment.short,
            long=config.long,
            hflip=augment.hflip,
            cut=augment.cut,
            before=augment.before,
            sides=augment.sides,
            mean=preprocessing.mean,
            std=preprocessing.std,
            masks=config.head.masks,
        )
    )
