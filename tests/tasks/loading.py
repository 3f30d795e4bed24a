"""The training images of a run as its loader gives them."""

from pathlib import Path
from typing import Any

import torch

from gcvit.data.loading import EpochLoader
from gcvit.data.quarantine import Quarantine
from gcvit.data.sampling import Share
from gcvit.tasks.classify import ClassifyConfig
from gcvit.tasks.classify.data import Varied as VariedImage
from gcvit.tasks.train import Varied
from gcvit.weights.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(size=(32, 32))


def training_loader(
    images: Any, config: ClassifyConfig, share: Share, *, workers: int = 0, quarantine: Path | None = None
) -> EpochLoader:
    """Of a classifier at 32 px. quarantine: the file that lists images which cannot be read; None: they are errors."""
    return EpochLoader(
        Varied(images, VariedImage(config.augment, PREPROCESSING)),
        share,
        seed=config.seed,
        workers=workers,
        device=torch.device("cpu"),
        quarantine=None if quarantine is None else Quarantine(quarantine, len(images), config.max_bad_images),
    )
