"""The scenes that a segmentation model is trained on: which there are, and how they become batches."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from gcvit.data.label_maps import RGB
from gcvit.data.loading import EpochLoader
from gcvit.data.scenes import ShapeScenes
from gcvit.data.segment import SegmentationImages, is_divided, open_segmentation
from gcvit.data.segment_transforms import TrainScene
from gcvit.engine.loop import Plan
from gcvit.tasks.segment.config import SegmentConfig
from gcvit.tasks.segment.saving import ScenePreprocessing

LabelledScenes = ShapeScenes | SegmentationImages  # items are (PIL image, labels)


@dataclass(frozen=True)
class Scenes:
    """What a run trains on and what it holds out, names and colours of the classes, and whether what is held out is a
    share of one set of images."""

    train: LabelledScenes
    held_out: LabelledScenes
    classes: list[str]
    palette: list[RGB]
    divided: bool = False


def open_scenes(config: SegmentConfig) -> Scenes:
    """The built-in scenes, drawn at the crop's size, or the folder that the configuration names.

    Raises ValueError, naming it, for one that cannot be trained on (see `open_segmentation`).
    """
    if config.data is None:
        size = config.augment.crop
        train, held_out = ShapeScenes("train", config.train_images, size), ShapeScenes("val", config.val_images, size)
        return Scenes(train, held_out, train.classes, train.palette)
    found, held = open_segmentation(
        config.data,
        classes_file=config.classes_file,
        ignore_label=config.ignore_label,
        zero_is_ignored=config.zero_is_ignored,
        val_fraction=config.val_fraction,
        seed=config.seed,
    )
    return Scenes(found, held, found.classes, found.palette, is_divided(config.data))


class Varied(Dataset):
    """Scenes with a transform of picture and labels."""

    def __init__(self, scenes: LabelledScenes, transform: Callable[[Any, Any], tuple[Tensor, Tensor]]) -> None:
        self.scenes, self.transform = scenes, transform

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.transform(*self.scenes[index])

    def name(self, index: int) -> str:
        """What a person calls the scene."""
        return self.scenes.name(index)


def training_loader(
    scenes: LabelledScenes, config: SegmentConfig, preprocessing: ScenePreprocessing, plan: Plan
) -> EpochLoader:
    """This process's share of varied crops, from an endless row of passes over the scenes."""
    augment = config.augment
    transform = TrainScene(
        resize=preprocessing.resize,
        scale=augment.scale,
        crop=augment.crop,
        cat_max_ratio=augment.cat_max_ratio,
        hflip=augment.hflip,
        photometric=augment.photometric,
        mean=preprocessing.mean,
        std=preprocessing.std,
    )
    return EpochLoader(
        Varied(scenes, transform),
        plan.share,
        seed=config.seed,
        workers=config.workers,
        device=plan.device,
        updates=plan.steps_per_epoch,
    )
