"""The images of a classifier: those of a run, and those that a checkpoint is measured on."""

import torch
from torch import Tensor

from gcvit.data.augment import train_transform
from gcvit.data.classify import open_class_folders, open_evaluation_images
from gcvit.data.pixels import Picture
from gcvit.data.shapes import ShapesDataset
from gcvit.factory import variant
from gcvit.model.config import Pair
from gcvit.tasks.backbone import backbone_config
from gcvit.tasks.classes import match_classes
from gcvit.tasks.classify.config import AugmentConfig, ClassifyConfig
from gcvit.tasks.opened import Opened
from gcvit.tasks.task import Data, HeldOut
from gcvit.weights.preprocessing import Preprocessing

BUILT_IN = "the built-in shapes"


def input_size(config: ClassifyConfig) -> Pair:
    """(height, width) in pixels of a settled run's images."""
    return backbone_config(config, config.img_size).img_size


def open_images(config: ClassifyConfig) -> Data:
    """Open the built-in shapes, drawn at the input's size, or the folder or archive that the configuration names.

    Raises UserError, naming it, for one that cannot be trained on (see `open_class_folders`).
    """
    variant(config.model)  # an unknown name is told before any image is read
    if config.data is not None:
        found = open_class_folders(config.data, val_fraction=config.val_fraction, seed=config.seed)
        train, held_out = (images.with_pixels(config.pixels) for images in found)
        remarks = [*train.remarks.lines(), *held_out.remarks.lines()]
        return Data(train, held_out, config.data, list(train.classes), remarks=list(dict.fromkeys(remarks)))
    size = input_size(config)
    drawn = ShapesDataset("train", config.train_images, size).with_pixels(config.pixels)
    held_out_drawn = ShapesDataset("val", config.val_images, size).with_pixels(config.pixels)
    return Data(drawn, held_out_drawn, BUILT_IN, list(drawn.classes))


def open_held_out(config: ClassifyConfig, opened: Opened, *, share: bool) -> HeldOut:
    """Open what a classifier is measured on; see `Task.open_held_out`.

    Classes are matched by name, those of published weights by ImageNet's folder names (n01440764, …).
    """
    if config.data is None:
        pictures, described = ShapesDataset("val", config.val_images, opened.preprocessing.size), BUILT_IN
    else:
        fraction = config.val_fraction if share else None
        pictures, described = open_evaluation_images(config.data, val_fraction=fraction, seed=config.seed)  # type: ignore[assignment]
    outputs = _outputs(opened) if opened.classes is None else len(opened.classes)
    data = config.data or described
    columns = match_classes(opened.classes, outputs, pictures.classes, source=opened.source, data=data)
    return HeldOut(pictures.with_pixels(opened.pixels), described, columns, pictures.remarks.lines())


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
