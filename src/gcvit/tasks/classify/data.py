"""The images that a classifier is trained on: which there are, and how they become batches."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from gcvit.data.augment import train_transform
from gcvit.data.classify import is_divided, open_class_folders
from gcvit.data.labelled import LabelledImages
from gcvit.data.loading import EpochLoader
from gcvit.data.quarantine import Quarantine, SkippingLoader
from gcvit.data.sampling import Share
from gcvit.data.shapes import ShapesDataset
from gcvit.tasks.classify.config import AugmentConfig, ClassifyConfig
from gcvit.weights.preprocessing import Preprocessing

Pictures = ShapesDataset | LabelledImages  # items are (PIL image, label)


@dataclass(frozen=True)
class Images:
    """What a run trains on and what it holds out, the names of the classes, and whether what is held out is a share of
    one set of images (see `is_divided`)."""

    train: Pictures
    held_out: Pictures
    classes: list[str]
    divided: bool = False


def open_images(config: ClassifyConfig, size: tuple[int, int]) -> Images:
    """The built-in shapes, drawn at `size` (height, width), or the folder or archive that the configuration names.

    Raises ValueError, naming it, for one that cannot be trained on (see `open_class_folders`).
    """
    if config.data is not None:
        train, held_out = open_class_folders(config.data, val_fraction=config.val_fraction, seed=config.seed)
        return Images(train, held_out, list(train.classes), is_divided(config.data))
    built_in = ShapesDataset("train", config.train_images, size)
    return Images(built_in, ShapesDataset("val", config.val_images, size), list(built_in.classes))


class Transformed(Dataset):
    """`images` with a transform."""

    def __init__(self, images: Pictures, transform: Callable[[Image.Image], Tensor]) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, label = self.images[index]
        return self.transform(image), label

    def name(self, index: int) -> str:
        """What a person calls the image."""
        return self.images.name(index)


def training_loader(
    images: Pictures,
    config: ClassifyConfig,
    preprocessing: Preprocessing,
    share: Share,
    device: torch.device,
    quarantine: Path | None = None,
) -> EpochLoader:
    """This process's share of augmented batches for training.

    quarantine: the file that lists the images which could not be read, needed where `config.bad_images` is "skip".
    """
    dataset = Transformed(images, _train_transform(config.augment, preprocessing))
    if config.bad_images == "error":
        return EpochLoader(dataset, share, seed=config.seed, workers=config.workers, device=device)
    assert quarantine is not None
    bad = Quarantine(quarantine, len(images), config.max_bad_images)
    return SkippingLoader(dataset, share, seed=config.seed, workers=config.workers, device=device, quarantine=bad)


def _train_transform(augment: AugmentConfig, preprocessing: Preprocessing) -> Callable[[Image.Image], Tensor]:
    return train_transform(
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
