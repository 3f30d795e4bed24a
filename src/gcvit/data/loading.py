"""Batches for training: this process's share of every update, the same whatever loads it."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from functools import partial
from multiprocessing.sharedctypes import RawArray
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate, get_worker_info

from gcvit import distributed
from gcvit.data.quarantine import Quarantine, Replacing
from gcvit.data.sampling import Alike, EpochSampler, Reseeded, Share
from gcvit.errors import UserError
from gcvit.internals.of_torch import shut_down_workers
from gcvit.wording import harmless, listed


class LoadingFailed(UserError, RuntimeError):
    """The processes that load images cannot go on; the message says why, and what to do."""


class Loader(DataLoader):
    """Batches of a dataset, in the sampler's order, from processes that fail with one message and not with silence.

    dataset: its items are asked for by index, or by (index, …) where the sampler yields such. batch_size: None gives
    items as they are. workers: processes that load; 0: this one. name: what a person calls an image, by index.

    Iterating raises LoadingFailed when a process has died, gives nothing for half of `distributed.patience`, or finds
    no room to hand its images over; and whatever loading an image raises. The processes stay for the next iteration;
    they end with the loader, and with an iteration that is not finished: whoever holds what ended it, such as an
    error's traceback, does not hold them.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int | None,
        *,
        sampler: Iterable[Any],
        workers: int,
        name: Callable[[int], str],
        collate: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
    ) -> None:
        self._watched, self._name = _Watched(dataset, workers), name
        patience = distributed.patience().total_seconds() / 2  # so that other ranks do not lose it first
        super().__init__(
            self._watched,
            batch_size,
            sampler=sampler,
            collate_fn=collate,
            num_workers=workers,
            persistent_workers=workers > 0,  # they start once, and keep the images that they hold
            pin_memory=pin_memory,
            timeout=patience if workers else 0,
            generator=torch.Generator(),  # or iterating would draw from the global generator
            worker_init_fn=leave_signals_to_the_parent,
        )

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        return self._explaining(super().__iter__())

    def _explaining(self, batches: Iterator[Any]) -> Iterator[Any]:
        finished = False
        try:
            yield from batches
            finished = True
        except (RuntimeError, MemoryError, ConnectionError, EOFError) as error:
            try:
                said = self._why(error)
            except RuntimeError as death:  # torch tells of a process that has died wherever it finds us, and once
                said = self._why(death)
            if said is None:
                raise
            raise LoadingFailed(said) from error
        finally:
            if not finished:
                shut_down_workers(self)

    def _why(self, error: BaseException) -> str | None:
        text = str(error)
        if "DataLoader timed out" in text:
            return self._hanging()
        if isinstance(error, ConnectionError | EOFError) and self.num_workers and not text.startswith("Caught"):
            return _died(f"while it handed an image over: {text}", self.num_workers)
        return why_loading_failed(error, self.num_workers)

    def _hanging(self) -> str:
        """What to say when the workers give nothing; those that are at an image are killed."""
        images = listed(self._watched.places(), 8, lambda place: harmless(self._name(place), keep=""))
        with suppress(RuntimeError):  # torch says that they were killed
            self._watched.kill()
        shut_down_workers(self)
        return (
            f"the processes that load images have given nothing for {self.timeout:g} s; what they are at: {images}. "
            f"Perhaps the images' disk or network does not answer; {distributed.PATIENCE}=SECONDS in the environment "
            f"waits for half as many"
        )


def why_loading_failed(error: BaseException, workers: int) -> str | None:
    """What to tell a person of an error of torch's loader with so many workers; None for one of another kind."""
    if isinstance(error.__cause__, RuntimeError):  # "exited unexpectedly", because it "is killed by signal: Bus error"
        return why_loading_failed(error.__cause__, workers)
    text = str(error)
    if "DataLoader worker" not in text and "</torch_" not in text:
        return None
    if any(sign in text for sign in ("Too many open files", "received 0 items of ancdata")):
        return f"the processes that load images hold too many files: raise `ulimit -n`, or lower workers ({workers})"
    if any(sign in text for sign in ("Bus error", "shared memory", "</torch_")):
        fewer = f", or fewer than {workers}" if workers > 1 else ""
        return (
            f"/dev/shm is full, through which the processes that load images hand them over: give --workers 0{fewer}; "
            f"start a container with a larger --shm-size"
        )
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in text:
        return f"a process that loads images has run out of memory. Lower workers ({workers}), or the size of images"
    if text.startswith("Caught"):  # an error of the dataset's own, with the worker's traceback
        return None
    return _died(text.strip().rstrip("."), workers)


def _died(reason: str, workers: int) -> str:
    return f"a process that loads images has died ({reason}): perhaps memory ran out. Lower workers ({workers})"


class _Watched(Dataset):
    """`dataset`, from whose parent process can be seen which items the workers are at."""

    def __init__(self, dataset: Any, workers: int) -> None:
        self.dataset = dataset
        self._pids, self._places = RawArray("q", workers + 1), RawArray("q", workers + 1)  # of each worker; 0: none

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, item: Any) -> Any:
        worker = get_worker_info()
        if worker is None:
            return self.dataset[item]
        self._pids[worker.id] = os.getpid()
        self._places[worker.id] = 1 + (item[0] if isinstance(item, tuple) else item)
        try:
            return self.dataset[item]
        finally:
            self._places[worker.id] = 0

    def places(self) -> list[int]:
        """The indices of what is being loaded now."""
        return [place - 1 for place in self._places if place]

    def kill(self) -> None:
        """End the workers that are at an item now, whatever they do there."""
        for pid, place in zip(self._pids, self._places, strict=True):
            if place:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


class EpochLoader:
    """Micro-batches of a process's share; order and augmentation are a function of (seed, epoch), not of the workers.

    updates: of an epoch; None: as many as the images fill. alike: which images go together (see `EpochSampler`).
    collate: makes a batch of items; None: torch's own. quarantine: where images that cannot be read are listed, while
    others take their places; None: the first one raises ImageError.

    Attributes:
        dataset: the one that was given; `dataset.name(index)` is what a person calls an image.
        sampler: the order; `sampler.updates` is the number of updates in an epoch.
    """

    def __init__(
        self,
        dataset: Any,
        share: Share,
        *,
        seed: int,
        workers: int,
        device: torch.device,
        updates: int | None = None,
        alike: Alike | None = None,
        collate: Callable[[list[Any]], Any] | None = None,
        quarantine: Quarantine | None = None,
    ) -> None:
        self.dataset = dataset
        self.quarantine = quarantine
        collate = collate or default_collate
        self.sampler = EpochSampler(len(dataset), share, seed, updates, alike)
        self._loader = Loader(
            Reseeded(dataset if quarantine is None else Replacing(dataset)),
            share.micro_batch,
            collate=collate if quarantine is None else partial(_replaced, collate=collate),
            sampler=self.sampler,
            workers=workers,
            name=lambda index: dataset.name(index),  # not self.dataset: what it holds would hold it
            pin_memory=device.type == "cuda",
        )

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """The micro-batches of epoch 0, 1, …, from its update `start` on. Raises UserError for too many bad images."""
        self.sampler.epoch, self.sampler.start = epoch, start
        if self.quarantine is None:
            yield from self._loader
            return
        for batch, bad in self._loader:
            self.quarantine.add_all(bad)
            yield batch

    def close(self) -> None:
        """End the workers."""
        shut_down_workers(self._loader)


def _replaced(items: list[tuple[Any, str]], collate: Callable[[list[Any]], Any]) -> tuple[Any, list[str]]:
    """Collates items of `Replacing`: (batch, bad images of each item)."""
    batch, bad = zip(*items, strict=True)
    return collate(list(batch)), list(bad)


def to_device(batch: Any, device: torch.device) -> Any:
    """Move the tensors in any nest of tuples, lists, dicts and dataclasses, without waiting; images, which have four
    axes, become channels last in memory, as the model computes."""
    if isinstance(batch, Tensor):
        layout = torch.channels_last if batch.ndim == 4 else torch.preserve_format
        return batch.to(device, non_blocking=True, memory_format=layout)
    if isinstance(batch, dict):
        return {name: to_device(part, device) for name, part in batch.items()}
    if isinstance(batch, tuple | list):
        parts = [to_device(part, device) for part in batch]
        return type(batch)(parts) if type(batch) in (tuple, list) else type(batch)(*parts)  # a named tuple
    if is_dataclass(batch) and not isinstance(batch, type):
        return replace(batch, **{f.name: to_device(getattr(batch, f.name), device) for f in fields(batch) if f.init})
    return batch


def leave_signals_to_the_parent(worker: int) -> None:
    """For a loader worker: Ctrl-C and a batch system's signals reach the whole group, but the training process needs
    its workers until the step is done and saved. They end with it, or a minute after SIGTERM."""
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(60))
