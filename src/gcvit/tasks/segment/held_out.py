"""The scenes that a segmentation model is measured on: this process's share of them, prepared one by one."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gcvit import distributed
from gcvit.data.images import ImageError
from gcvit.data.label_maps import IGNORED
from gcvit.data.loading import leave_signals_to_the_parent
from gcvit.data.segment_transforms import EvalScene
from gcvit.tasks.segment.data import LabelledScenes
from gcvit.tasks.segment.saving import ScenePreprocessing
from gcvit.tasks.unreadable import BadImages, Unreadable


class HeldOutScene(NamedTuple):
    """position: in the dataset. image: (3, height, width). labels: (height, width) int16, at the original size."""

    position: int
    image: Tensor
    labels: Tensor


def held_out_loader(
    scenes: LabelledScenes,
    preprocessing: ScenePreprocessing,
    *,
    workers: int,
    columns: Sequence[int] | None = None,
    bad_images: BadImages = "error",
) -> DataLoader:
    """A `HeldOutScene` or `Unreadable` at a time: of n processes each has every n-th scene, once, in order.

    columns: translates the dataset's labels. bad_images: whether a scene that cannot be read raises ImageError, which
    names it, or is left out and listed.
    """
    return DataLoader(
        _Prepared(scenes, preprocessing, columns, skip=bad_images == "skip"),
        batch_size=None,
        sampler=range(distributed.rank(), len(scenes), distributed.world_size()),
        collate_fn=_as_it_is,
        num_workers=workers,
        persistent_workers=workers > 0,
        generator=torch.Generator(),  # or iterating would draw from the global generator
        worker_init_fn=leave_signals_to_the_parent,
    )


class _Prepared(Dataset):
    """Items, or what is wrong with them."""

    def __init__(
        self, scenes: LabelledScenes, preprocessing: ScenePreprocessing, columns: Sequence[int] | None, skip: bool
    ) -> None:
        self.scenes, self.skip = scenes, skip
        self.transform = EvalScene(preprocessing.resize, preprocessing.mean, preprocessing.std)
        # The last entry is what the index -1 finds.
        self.columns = None if columns is None else np.array([*columns, IGNORED], dtype=np.int16)

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, position: int) -> HeldOutScene | Unreadable:
        try:
            image, labels = self.scenes[position]
        except ImageError as error:
            if not self.skip:
                raise
            file = self.scenes.name(position)
            return Unreadable(position, file, str(error).removeprefix(f"cannot read image {file}: "))
        labels = labels if self.columns is None else self.columns[labels]
        return HeldOutScene(position, self.transform(image), torch.from_numpy(np.ascontiguousarray(labels)))


def _as_it_is(item: Any) -> Any:
    return item
