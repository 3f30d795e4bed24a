"""Order and randomness of the samples, a pure function of (seed, epoch, index).

Nothing here has state to save: after a restart the same seed and epoch give the same order and the same
augmentation, on any machine and with any number of loader workers.
"""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from gcvit.errors import UserError
from gcvit.internals.of_others import lend_numpy

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


def some_of(count: int, share: float, *keys: int) -> np.ndarray:
    """The numbers of a share of so many, at least one and never all, chosen by the keys."""
    return permutation(count, *keys)[: min(max(round(count * share), 1), count - 1)]


@dataclass(frozen=True)
class Alike:
    """Which images go together: those of one shape, so that a batch of them needs little padding.

    groups: (images,), the number of each image's group. count: images of one group that follow each other, a divisor
    of `batch_size`; the fewer, the more both kinds are in each update.
    """

    groups: np.ndarray
    count: int

    @classmethod
    def by_orientation(cls, aspects: Iterable[float], count: int) -> "Alike":
        """Landscape and square, and portrait. aspects: width / height of each image."""
        return cls(np.fromiter((aspect < 1 for aspect in aspects), dtype=np.int64), count)

    def sort(self, order: np.ndarray, first: int) -> np.ndarray:
        """The images of a pass in runs of `count` from one group, a run in the place where its first image was.

        first: images at the beginning that fill a run of the pass before, of any group. What does not fill a run of its
        group comes last.
        """
        head, rest = order[:first], order[first:]
        groups = self.groups[rest]
        places = [np.flatnonzero(groups == group) for group in np.unique(groups)]
        whole = [place[: len(place) // self.count * self.count].reshape(-1, self.count) for place in places]
        runs = np.concatenate([*whole, np.empty((0, self.count), dtype=np.int64)])
        left = np.sort(np.concatenate([*(place[len(place) // self.count * self.count :] for place in places), []]))
        runs = runs[np.argsort(runs[:, 0])].reshape(-1)
        return np.concatenate([head, rest[runs], rest[left.astype(np.int64)]])


@dataclass(frozen=True)
class Share:
    """This process's part of every update of the weights.

    The `batch_size` images of an update are cut into passes × ranks chunks. In pass p, rank r computes chunk
    p × ranks + r; so two processes see in one pass what one process sees in two.

    Raises UserError when the batch cannot be cut into equal chunks.
    """

    batch_size: int
    passes: int = 1
    rank: int = 0
    ranks: int = 1

    def __post_init__(self) -> None:
        chunks = self.passes * self.ranks
        if self.batch_size % chunks:
            near = max(self.batch_size // chunks, 1) * chunks
            raise UserError(
                f"batch_size {self.batch_size} cannot be divided over {self.ranks} processes × {self.passes} passes "
                f"(accumulate); take a multiple of {chunks}, such as {near}"
            )

    @property
    def micro_batch(self) -> int:
        """Images of one chunk: what goes through the model at once."""
        return self.batch_size // (self.passes * self.ranks)

    def chunk(self, passed: int) -> int:
        """The number of the chunk after `passed` passes of this update, unique among all processes."""
        return passed * self.ranks + self.rank


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (index, sample seed) of this process's share of one epoch; for a dataset wrapped in :class:`Reseeded`.

    Images that do not fill the last update of an epoch are left for another epoch's order. With `updates` given, an
    epoch is that many updates of an endless row of passes over the images, each pass in its own order: nothing is left
    out, and there may be fewer images than an update takes.

    Args:
        images: length of the dataset.
        share: of this process.
        seed: of the run.
        updates: of an epoch; None: as many as the images fill.
        alike: which images go together; None: any. The order is the same however the batch is divided; where a chunk
            is not larger than `alike.count` and divides it, its images are of one group, but for one run for each group
            (and where passes meet, one more) in a pass over the images.

    Attributes:
        epoch: from 0; each has its own order and its own sample seeds. Set it before iterating.
        start: updates of the epoch to leave out at its beginning (a run that goes on). Set it too.
    """

    def __init__(
        self, images: int, share: Share, seed: int, updates: int | None = None, alike: Alike | None = None
    ) -> None:
        assert alike is None or len(alike.groups) == images, "each image is in a group"
        if alike is not None and (alike.count < 1 or share.batch_size % alike.count):
            raise UserError(
                f"batch_size {share.batch_size} cannot be divided into runs of {alike.count} images of one "
                f"orientation; make it a multiple of {alike.count}"
            )
        self.images, self.share, self.seed, self.alike = images, share, seed, alike
        self.endless = updates is not None
        self.updates = images // share.batch_size if updates is None else updates
        self.epoch = self.start = 0

    def __len__(self) -> int:
        return (self.updates - self.start) * self.share.passes * self.share.micro_batch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        share = self.share
        shape = (self.updates, share.passes, share.ranks, share.micro_batch)
        mine = [part.reshape(shape)[self.start :, :, share.rank].reshape(-1) for part in self._drawn(self.epoch)]
        return zip(*(part.tolist() for part in mine), strict=True)

    def update(self, epoch: int, number: int) -> list[int]:
        """The indices of update 0, 1, … of an epoch, of all processes together."""
        size = self.share.batch_size
        return self._drawn(epoch)[0][number * size : (number + 1) * size].tolist()

    def _drawn(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices and sample seeds of an epoch, of all processes together."""
        drawn = self.updates * self.share.batch_size
        if not self.endless:
            order, seeds = self._pass(epoch)
            return order[:drawn], seeds[:drawn]
        first, skipped = divmod(epoch * drawn, self.images)
        passes = [self._pass(first + number) for number in range(-(-(skipped + drawn) // self.images))]
        order, seeds = (np.concatenate(parts)[skipped : skipped + drawn] for parts in zip(*passes, strict=True))
        return order, seeds

    def _pass(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices and sample seeds of one pass over all images."""
        order = permutation(self.images, self.seed, number)
        if self.alike is not None:
            # Passes of an endless row follow on each other anywhere in a run.
            order = self.alike.sort(order, -number * self.images % self.alike.count if self.endless else 0)
        return order, (_hashes(self.images, self.seed, number, 2) >> np.uint64(1))[order]


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
        before = random.getstate(), torch.default_generator.get_state()
        give_numpy_back = lend_numpy(self._numpy)
        random.seed(seed)
        np.random.seed(seed & 0xFFFFFFFF)
        torch.default_generator.manual_seed(seed)
        try:
            return self.dataset[index]
        finally:
            random.setstate(before[0])
            give_numpy_back()
            torch.default_generator.set_state(before[1])


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
