"""The images of a classifier: those of a run, and those that a checkpoint is measured on."""

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gcvit.data.augment import train_transform
from gcvit.data.classify import open_class_folders, open_evaluation_images
from gcvit.data.pixels import Picture
from gcvit.data.shapes import ShapesDataset
from gcvit.factory import variant
from gcvit.model.config import Pair
from gcvit.tasks.backbone import backbone_config
from gcvit.tasks.classify.config import AugmentConfig, ClassifyConfig
from gcvit.tasks.data import held_out_data, training_data
from gcvit.tasks.opened import Opened
from gcvit.tasks.task import Data, HeldOut
from gcvit.weights.preprocessing import Preprocessing


def input_size(config: ClassifyConfig) -> Pair:
    """(height, width) in pixels of a settled run's images."""
    return backbone_config(config, config.img_size).img_size


def open_images(config: ClassifyConfig) -> Data:
    """Open the built-in shapes, drawn at the input's size, or the folder or archive that the configuration names.

    Raises UserError, naming it, for one that cannot be trained on (see `open_class_folders`).
    """
    variant(config.model)  # an unknown name is told before any image is read
    data = training_data(config, lambda split, n: ShapesDataset(split, n, input_size(config)), open_class_folders)
    held_out: Any = data.held_out
    return replace(data, remarks=list(dict.fromkeys([*data.remarks, *held_out.remarks.lines()])))


def open_held_out(config: ClassifyConfig, opened: Opened, *, share: bool) -> HeldOut:
    """Open what a classifier is measured on; see `Task.open_held_out`.

    Classes are matched by name, those of published weights by ImageNet's folder names (n01440764, …).
    """
    outputs = _outputs(opened) if opened.classes is None else len(opened.classes)
    drawn = partial(ShapesDataset, size=opened.preprocessing.size)
    return held_out_data(config, opened, outputs, drawn, open_evaluation_images, share=share)


@torch.inference_mode()
def _outputs(opened: Opened) -> int:
    """How many classes a model tells apart of which no names are known; of an exported file only its answer says."""
    return opened.model(torch.zeros(1, opened.pixels.channels, *opened.preprocessing.size)).shape[1]


class Varied:
    """Turns an image and its label into what a batch is made of, varied at random."""

    def __init__(self, augment: AugmentConfig, preprocessing: Preprocessing) -> None:
        self.transform = train_transform(
            size=preprocessing.size,
            scale=augment.scale,
            ratio=augment.ratio,
            hflip=augment.hflip,
            color_jitter=augment.color_jitter,
            rand_augment=augment.rand_augment,
            random_erasing=augment.random_erasing,
            interpolation=augment.interpolation,
            mean=preprocessing.mean,
            std=preprocessing.std,
        )

    def __call__(self, image: Picture, label: int) -> tuple[Tensor, int]:
        return self.transform(image), label
