"""Batches for training: this process's share of every update, the same whatever loads it."""

import signal
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gcvit.data.sampling import EpochSampler, Reseeded, Share


class EpochLoader:
    """Micro-batches of a process's share; order and augmentation are a function of (seed, epoch), not of the workers.

    updates: of an epoch; None: as many as the images fill (see `EpochSampler`).

    Attributes:
        dataset: the one that was given.
        sampler: the order; `sampler.updates` is the number of updates in an epoch.
    """

    def __init__(
        self,
        dataset: Dataset,
        share: Share,
        *,
        seed: int,
        workers: int,
        device: torch.device,
        updates: int | None = None,
    ) -> None:
        self.dataset: Any = dataset
        self.sampler = EpochSampler(len(dataset), share, seed, updates)  # type: ignore[arg-type]
        self._loader = DataLoader(
            Reseeded(dataset),
            share.micro_batch,
            sampler=self.sampler,
            num_workers=workers,
            persistent_workers=workers > 0,  # they start once, and keep the images that they hold
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # or iterating would draw from the global generator
            worker_init_fn=leave_signals_to_the_parent,
        )

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """The micro-batches of epoch 0, 1, …, from its update `start` on."""
        self.sampler.epoch, self.sampler.start = epoch, start
        return iter(self._loader)

    def close(self) -> None:
        """End the workers."""
        end_workers(self._loader)


def to_device(batch: tuple[Tensor, Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    """Images (channels last in memory, as the model computes) and labels, moved without waiting."""
    images, labels = batch
    images = images.to(device, non_blocking=True, memory_format=torch.channels_last)
    return images, labels.to(device, non_blocking=True)


def end_workers(loader: DataLoader) -> None:
    """End a loader's workers now. After an error its traceback would keep them until Python exits, which asks them to
    end by SIGTERM, and that they heed late."""
    iterator = loader._iterator
    if iterator is not None and loader.num_workers:
        iterator._shutdown_workers()  # type: ignore[attr-defined]  # there is no public way


def leave_signals_to_the_parent(worker: int) -> None:
    """For a loader worker: Ctrl-C and a batch system's signals reach the whole group, but the training process needs
    its workers until the step is done and saved. They end with it, or a minute after SIGTERM."""
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(60))
