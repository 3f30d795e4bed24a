"""A loader worker that dies is an error, at once, and never a wait without end; how batches reach the model."""

import multiprocessing
import os
import signal
import time

import pytest
import torch
from torch.utils.data import Dataset

from gcvit.data.loading import EpochLoader, to_device
from gcvit.data.sampling import Share

SIZE = 64


class Slow(Dataset):
    """Each image takes a moment, so that the epoch is not over before the worker dies."""

    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        time.sleep(0.02)
        return torch.full((3, 4, 4), float(index)), index


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_worker_is_an_error(workers):
    before = set(multiprocessing.active_children())
    loader = EpochLoader(Slow(), Share(4), seed=0, workers=workers, device=torch.device("cpu"))
    batches = loader.epoch(0)
    next(batches)
    victim = next(child for child in multiprocessing.active_children() if child not in before)
    os.kill(victim.pid, signal.SIGKILL)
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=r"worker .*(killed by signal|exited unexpectedly)"):
        list(batches)
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_workers_outlive_the_signals_that_ask_the_run_to_save(number):
    before = set(multiprocessing.active_children())
    loader = EpochLoader(Slow(), Share(8), seed=0, workers=1, device=torch.device("cpu"))
    batches = loader.epoch(0)
    next(batches)
    os.kill(next(child for child in multiprocessing.active_children() if child not in before).pid, number)
    assert len(list(batches)) == 7


def test_images_reach_the_model_in_the_memory_order_it_computes_in():
    images, labels = to_device((torch.rand(2, 3, 8, 8), torch.tensor([0, 1])), torch.device("cpu"))
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert labels.tolist() == [0, 1]
