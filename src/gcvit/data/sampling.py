"""Order and randomness of the samples, a pure function of (seed, epoch, index).

Nothing here has state to save: after a restart the same seed and epoch give the same order and the same
augmentation, on any machine and with any number of loader workers.
"""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

_MASK = (1 << 64) - 1


def derive_seed(*keys: int) -> int:
    """A seed in [0, 2**63) from any number of integers, such as (seed, step, rank); order matters."""
    state = 0
    for key in keys:
        state = int(_mix(np.array([(state ^ (key & _MASK)) & _MASK], dtype=np.uint64))[0])
    return state >> 1


def permutation(length: int, *keys: int) -> np.ndarray:
    """The numbers 0 … length-1, int64, in an order that depends on ``keys`` only.

    Sorted by a hash, since NumPy and torch do not promise the same shuffle in every release.
    """
    return np.argsort(_hashes(length, *keys, 1), kind="stable")


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (index, sample seed) for one epoch; the dataset must be wrapped in :class:`Reseeded`.

    Args:
        length: number of samples in the dataset.
        seed: of the run.
        epoch: from 0; each has its own order and its own sample seeds.
        start: how many samples of the epoch to leave out at its beginning (a run that goes on).
        shuffle: False keeps the dataset's order, for evaluation.
    """

    def __init__(self, length: int, seed: int, epoch: int, start: int = 0, shuffle: bool = True):
        if not 0 <= start <= length:
            raise ValueError(f"start must be in 0…{length} (the length of the epoch), got {start}")
        self.length, self.seed, self.epoch, self.start, self.shuffle = length, seed, epoch, start, shuffle

    def __len__(self) -> int:
        return self.length - self.start

    def __iter__(self) -> Iterator[tuple[int, int]]:
        seeds = _hashes(self.length, self.seed, self.epoch, 2) >> np.uint64(1)
        order = permutation(self.length, self.seed, self.epoch) if self.shuffle else np.arange(self.length)
        order = order[self.start :]
        return zip(order.tolist(), seeds[order].tolist(), strict=True)


class Reseeded(Dataset):
    """A dataset whose item (index, seed) is drawn with ``random``, NumPy and torch seeded by ``seed``.

    The three global generators are put back afterwards, so that loading in the main process (no workers)
    leaves the same state behind as loading in others.
    """

    def __init__(self, dataset: Dataset):
        self.dataset = dataset
        self._numpy = np.random.MT19937(0)  # lent to NumPy's global functions: a copy of their state is 50 times slower

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, item: tuple[int, int]) -> Any:
        index, seed = item
        before = random.getstate(), np.random.get_bit_generator(), torch.default_generator.get_state()  # type: ignore[attr-defined]
        random.seed(seed)
        np.random.set_bit_generator(self._numpy)  # type: ignore[attr-defined]
        np.random.seed(seed & 0xFFFFFFFF)
        torch.default_generator.manual_seed(seed)
        try:
            return self.dataset[index]
        finally:
            random.setstate(before[0])
            np.random.set_bit_generator(before[1])  # type: ignore[attr-defined]
            torch.default_generator.set_state(before[2])


def _hashes(length: int, *keys: int) -> np.ndarray:
    """One 64-bit hash per index."""
    offset = np.uint64(derive_seed(*keys))
    return _mix(_mix(np.arange(length, dtype=np.uint64)) ^ offset)


def _mix(values: np.ndarray) -> np.ndarray:
    """The SplitMix64 finaliser (Steele, Lea and Flood, 2014): a bijection of 64-bit integers."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
