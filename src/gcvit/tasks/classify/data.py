"""The images of a run: which there are, how they become batches, and which ones are held out."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gcvit.data.augment import eval_transform, train_transform
from gcvit.data.classify import ClassFolders, evaluation_folder, held_out_folder, open_class_folders
from gcvit.data.sampling import EpochSampler, Reseeded
from gcvit.data.shapes import ShapesDataset
from gcvit.tasks.classify.config import AugmentConfig, ClassifyConfig
from gcvit.weights.preprocessing import Preprocessing

Pictures = ShapesDataset | ClassFolders  # items are (PIL image, label) when they have no transform


@dataclass(frozen=True)
class Images:
    """What a run trains on and what it holds out, and the names of the classes."""

    train: Pictures
    held_out: Pictures
    classes: list[str]


def open_images(config: ClassifyConfig, size: tuple[int, int]) -> Images:
    """The built-in shapes, drawn at `size` (height, width), or the folder that the configuration names.

    Raises ValueError, naming the folder, for one that cannot be trained on (see `open_class_folders`).
    """
    if config.data is not None:
        train, held_out = open_class_folders(config.data, val_fraction=config.val_fraction, seed=config.seed)
        return Images(train, held_out, list(train.classes))
    built_in = ShapesDataset("train", config.train_images, size)
    return Images(built_in, ShapesDataset("val", config.val_images, size), list(built_in.classes))


def open_held_out(
    path: str | None, *, images: int, size: tuple[int, int], val_fraction: float | None = None, seed: int = 0
) -> tuple[Pictures, str]:
    """What to evaluate on, and in words what that is.

    `path`/val (or test) where there is one; else with `val_fraction` the share of `path` that training with the
    same `val_fraction` and `seed` held out, without it all the class folders in `path`; without a path `images`
    held-out built-in shapes. Raises ValueError for a folder that cannot be evaluated on.
    """
    if path is None:
        return ShapesDataset("val", images, size), "the built-in shapes"
    if val_fraction is not None and held_out_folder(path) is None:
        _, held_out = open_class_folders(path, val_fraction=val_fraction, seed=seed)
        return held_out, f"{path}: what training with val_fraction {val_fraction:g} and seed {seed} held out"
    folder = evaluation_folder(path)
    everything = f"{path}: all in it, also those that the model was trained on, if it was"
    return ClassFolders(folder), everything if folder == Path(path) else str(folder)


def draw_built_in(dataset: Pictures, track: Callable[[Iterable[int]], Iterable[int]]) -> None:
    """Draw all built-in scenes now, so that loader workers share them; nothing to do for other images.

    track: passes the scenes' numbers on, and may show how many there have been.
    """
    if isinstance(dataset, ShapesDataset):
        dataset.draw(track)


class Transformed(Dataset):
    """`images` with a transform, and with labels translated through `labels` if it is given."""

    def __init__(
        self, images: Pictures, transform: Callable[[Image.Image], Tensor], labels: Sequence[int] | None = None
    ) -> None:
        self.images, self.transform, self.labels = images, transform, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, label = self.images[index]
        return self.transform(image), label if self.labels is None else self.labels[label]


class EpochLoader:
    """Batches of training images; order and augmentation are a function of (seed, epoch), not of the workers.

    The last images of an epoch that do not fill `batches` whole batches are left for another epoch's order.
    """

    def __init__(
        self, images: "Transformed", *, batch_size: int, batches: int, seed: int, workers: int, device: torch.device
    ) -> None:
        self._order = _EpochOrder(len(images), seed, batch_size * batches)
        self._loader = DataLoader(
            Reseeded(images),
            batch_size,
            sampler=self._order,
            num_workers=workers,
            persistent_workers=workers > 0,  # they start once, and keep the images that they hold
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # or iterating would draw from the global generator
        )

    def epoch(self, epoch: int) -> Iterator[Any]:
        """The batches of epoch 0, 1, …"""
        self._order.epoch = epoch
        return iter(self._loader)


class _EpochOrder(torch.utils.data.Sampler[tuple[int, int]]):
    """The first `length` (index, sample seed) pairs of `epoch`, which is set anew before each pass."""

    def __init__(self, images: int, seed: int, length: int) -> None:
        self.images, self.seed, self.length, self.epoch = images, seed, length, 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        pairs = iter(EpochSampler(self.images, self.seed, self.epoch))
        return (next(pairs) for _ in range(self.length))


def training_loader(
    images: Pictures,
    config: ClassifyConfig,
    preprocessing: Preprocessing,
    *,
    batches: int,
    device: torch.device,
) -> EpochLoader:
    """Augmented batches for training, `batches` of them in an epoch."""
    return EpochLoader(
        Transformed(images, _train_transform(config.augment, preprocessing)),
        batch_size=config.batch_size,
        batches=batches,
        seed=config.seed,
        workers=config.workers,
        device=device,
    )


def evaluation_loader(
    images: Pictures,
    preprocessing: Preprocessing,
    *,
    batch_size: int,
    workers: int,
    device: torch.device,
    labels: Sequence[int] | None = None,
) -> DataLoader:
    """Every image once, in order, prepared for evaluation; `labels` translates the dataset's labels."""
    return DataLoader(
        Transformed(images, eval_transform(**asdict(preprocessing)), labels),
        batch_size,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),
    )


def to_device(batch: tuple[Tensor, Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    """Images (channels last in memory, as the model computes) and labels, moved without waiting."""
    images, labels = batch
    images = images.to(device, non_blocking=True, memory_format=torch.channels_last)
    return images, labels.to(device, non_blocking=True)


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
