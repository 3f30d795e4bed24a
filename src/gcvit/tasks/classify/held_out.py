"""The images that a classifier is measured on: which they are, and this process's share of them in batches."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gcvit import distributed
from gcvit.data.augment import eval_transform
from gcvit.data.classify import open_evaluation_images
from gcvit.data.images import ImageError
from gcvit.data.loading import leave_signals_to_the_parent
from gcvit.data.shapes import ShapesDataset
from gcvit.tasks.classify.data import Pictures
from gcvit.tasks.unreadable import BadImages, Unreadable
from gcvit.weights.preprocessing import Preprocessing


class HeldOutBatch(NamedTuple):
    """images: (batch, 3, height, width). labels, positions (in the dataset): (batch,). Unreadable ones are extra."""

    images: Tensor
    labels: Tensor
    positions: Tensor
    unreadable: list[Unreadable]


def open_held_out(
    path: str | None, *, images: int, size: tuple[int, int], val_fraction: float | None = None, seed: int = 0
) -> tuple[Pictures, str]:
    """What to evaluate on, and in words what that is.

    What `open_evaluation_images` finds in `path`; without a path `images` held-out built-in shapes.
    Raises ValueError for a folder or archive that cannot be evaluated on.
    """
    if path is None:
        return ShapesDataset("val", images, size), "the built-in shapes"
    return open_evaluation_images(path, val_fraction=val_fraction, seed=seed)


def evaluation_loader(
    images: Pictures,
    preprocessing: Preprocessing,
    *,
    batch_size: int,
    workers: int,
    device: torch.device,
    labels: Sequence[int] | None = None,
    bad_images: BadImages = "error",
) -> DataLoader:
    """`HeldOutBatch`es of this process's share: of n processes each has every n-th image, once, in order.

    labels: translates the dataset's labels. bad_images: whether an image that cannot be read raises ImageError,
    which names it, or is left out and listed.
    """
    return DataLoader(
        _Prepared(images, preprocessing, labels, skip=bad_images == "skip"),
        batch_size,
        sampler=range(distributed.rank(), len(images), distributed.world_size()),
        collate_fn=_collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # or iterating would draw from the global generator
        worker_init_fn=leave_signals_to_the_parent,
    )


Item = tuple[Tensor, int, int] | Unreadable


class _Prepared(Dataset):
    """Items (image, label, position), or what is wrong with the image."""

    def __init__(
        self, images: Pictures, preprocessing: Preprocessing, labels: Sequence[int] | None, skip: bool
    ) -> None:
        self.images, self.transform = images, eval_transform(**asdict(preprocessing))
        self.labels, self.skip = labels, skip

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: int) -> Item:
        try:
            image, label = self.images[position]
        except ImageError as error:
            if not self.skip:
                raise
            file = self.images.name(position)
            return Unreadable(position, file, str(error).removeprefix(f"cannot read image {file}: "))
        return self.transform(image), label if self.labels is None else self.labels[label], position


def _collate(items: list[Item]) -> HeldOutBatch:
    unreadable = [item for item in items if isinstance(item, Unreadable)]
    rows = [item for item in items if not isinstance(item, Unreadable)]
    images = torch.stack([image for image, _, _ in rows]) if rows else torch.empty(0)
    labels = torch.tensor([label for _, label, _ in rows], dtype=torch.int64)
    return HeldOutBatch(images, labels, torch.tensor([at for *_, at in rows], dtype=torch.int64), unreadable)
