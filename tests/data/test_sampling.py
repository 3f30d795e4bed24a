"""The order and the randomness of the samples depend on (seed, epoch, index) and on nothing else."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from gcvit.data.augment import train_transform
from gcvit.data.sampling import Alike, EpochSampler, Reseeded, Share, derive_seed, permutation
from gcvit.data.shapes import ShapesDataset
from gcvit.errors import UserError

SEEDS = st.integers(0, 2**63 - 1)


class Draws(Dataset):
    """Gives what the three generators give."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))


def pairs(images: int, share: Share, seed: int, epoch: int, start: int = 0) -> list[tuple[int, int]]:
    """(index, sample seed) of one epoch."""
    sampler = EpochSampler(images, share, seed)
    sampler.epoch, sampler.start = epoch, start
    found = list(sampler)
    assert len(found) == len(sampler)
    return found


SHARES = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 4)).map(
    lambda parts: Share(batch_size=parts[0] * parts[1] * parts[2], passes=parts[1], ranks=parts[2])
)


@given(st.integers(0, 300), SHARES, SEEDS, st.integers(0, 1000))
def test_an_epoch_visits_every_sample_once_over_all_ranks(images, share, seed, epoch):
    visited = [pair for rank in range(share.ranks) for pair in pairs(images, replace(share, rank=rank), seed, epoch)]
    assert len({index for index, _ in visited}) == len(visited) == images // share.batch_size * share.batch_size
    assert len({seed for _, seed in visited}) == len(visited)
    assert all(0 <= index < images and 0 <= seed < 2**63 for index, seed in visited)


@given(st.integers(0, 100), SHARES, SEEDS)
def test_an_update_is_the_same_images_however_it_is_divided(images, share, seed):
    """In the same chunks, whether these follow on one rank or lie on several."""
    alone = pairs(images, Share(share.batch_size), seed, 3)
    chunks = {}
    for rank in range(share.ranks):
        mine = replace(share, rank=rank)
        found = pairs(images, mine, seed, 3)
        for number in range(len(found) // mine.micro_batch):
            update, passed = divmod(number, mine.passes)
            part = found[number * mine.micro_batch : (number + 1) * mine.micro_batch]
            chunks[update * mine.passes * mine.ranks + mine.chunk(passed)] = part
    assert [pair for number in sorted(chunks) for pair in chunks[number]] == alone
    for update in range(images // share.batch_size):
        wanted = [index for index, _ in alone[update * share.batch_size : (update + 1) * share.batch_size]]
        assert EpochSampler(images, share, seed).update(3, update) == wanted


@given(SHARES, SEEDS, st.integers(0, 5))
def test_a_later_start_is_the_rest_of_the_epoch(share, seed, start):
    images = 5 * share.batch_size + 1
    each = share.passes * share.micro_batch
    assert pairs(images, share, seed, 3, start=start) == pairs(images, share, seed, 3)[start * each :]


def test_a_batch_that_cannot_be_divided_is_refused_with_one_that_can():
    with pytest.raises(ValueError, match=r"batch_size 10 cannot be divided over 2 processes × 2 passes.*such as 8"):
        Share(10, passes=2, ranks=2)


def test_seed_and_epoch_change_order_and_sample_seeds():
    runs = [dict(pairs(200, Share(10), seed, epoch)) for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1))]
    orders = [tuple(run) for run in runs]
    assert len(set(orders)) == 4
    assert all(len({run[index] for run in runs}) == 4 for index in range(200))
    assert pairs(200, Share(10), 1, 1) == list(runs[3].items())


def test_the_shuffle_is_fair():
    """Each of 6 samples comes first about as often as any other, and next to each other about as often."""
    orders = np.array([permutation(6, seed, 0) for seed in range(3000)])
    for position in range(6):
        assert np.abs(np.bincount(orders[:, position], minlength=6) - 500).max() < 100
    following = np.bincount((orders[:, 1] - orders[:, 0]) % 6, minlength=6)
    assert following[0] == 0
    assert np.abs(following[1:] - 600).max() < 110


def test_the_order_is_the_same_in_every_release():
    assert permutation(8, 0, 0).tolist() == [6, 2, 7, 0, 5, 4, 1, 3]
    assert derive_seed(1, 2, 3) == 7510213797696614745


@given(st.lists(SEEDS, min_size=1, max_size=4), st.lists(SEEDS, min_size=1, max_size=4))
def test_derived_seeds_differ(one, other):
    assert 0 <= derive_seed(*one) < 2**63
    assert (derive_seed(*one) == derive_seed(*other)) == (one == other)


def test_all_three_generators_follow_the_seed_and_are_put_back():
    data = Reseeded(Draws())
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    undisturbed = Draws()[0]
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    first, again, other = data[0, 7], data[3, 7], data[0, 8]
    assert first == again
    assert all(a != b for a, b in zip(first, other, strict=True))
    assert Draws()[0] == undisturbed


def test_batches_are_the_same_with_any_number_of_workers():
    transform = train_transform(size=32, random_erasing=0.5)  # uses all three generators
    data = Reseeded(ShapesDataset("train", 24, size=32, transform=transform))
    epochs = {}
    for workers in (0, 1, 2):
        torch.manual_seed(workers)  # must not matter
        random.seed(workers)
        loader = DataLoader(data, batch_size=5, sampler=pairs(24, Share(1), 3, 1), num_workers=workers)
        epochs[workers] = [(images, labels) for images, labels in loader]
        assert len(epochs[workers]) == 5
    for workers in (1, 2):
        for (images, labels), (plain, plain_labels) in zip(epochs[workers], epochs[0], strict=True):
            assert torch.equal(images, plain)
            assert torch.equal(labels, plain_labels)
    plain = ShapesDataset("train", 24, size=32, transform=transform)
    assert not torch.equal(torch.stack([plain[i][0] for i, _ in pairs(24, Share(1), 3, 1)][:5]), epochs[0][0][0])


@given(st.integers(1, 40), SHARES, SEEDS, st.integers(1, 6))
def test_an_endless_row_of_passes_leaves_nothing_out(images, share, seed, updates):
    """Its epochs follow on each other: every image comes once before any comes again, and never with the same seed."""
    drawn = []
    for epoch in range(5):
        ranks = [EpochSampler(images, replace(share, rank=rank), seed, updates) for rank in range(share.ranks)]
        for sampler in ranks:
            sampler.epoch = epoch
        found = [list(sampler) for sampler in ranks]
        assert [len(part) for part in found] == [len(sampler) for sampler in ranks]
        alone = EpochSampler(images, Share(share.batch_size), seed, updates)
        alone.epoch = epoch
        assert sorted(pair for part in found for pair in part) == sorted(alone)
        drawn += list(alone)
        assert [index for index, _ in drawn[-share.batch_size :]] == alone.update(epoch, updates - 1)
    for start in range(0, len(drawn) - images + 1, images):
        assert {index for index, _ in drawn[start : start + images]} == set(range(images))
    assert len(set(drawn)) == len(drawn)


def test_the_row_does_not_depend_on_where_its_epochs_are_cut():
    share = Share(6)
    whole, parts = EpochSampler(10, share, 1, 12), EpochSampler(10, share, 1, 4)
    cut = []
    for parts.epoch in range(3):
        cut += list(parts)
    assert cut == list(whole)


ORIENTED = st.lists(st.sampled_from([0.5, 1.0, 2.0]), max_size=120)


def oriented(aspects: list[float], share: Share, seed: int, count: int, updates: int | None = None) -> EpochSampler:
    return EpochSampler(len(aspects), share, seed, updates, Alike.by_orientation(aspects, count))


@given(ORIENTED, SHARES, SEEDS, st.integers(0, 1000), st.data())
def test_images_of_one_orientation_go_together_each_once_an_epoch(aspects, share, seed, epoch, data):
    """However the batch is divided and wherever the run goes on; and the seeds stay with their images."""
    count = data.draw(st.sampled_from([n for n in range(1, share.batch_size + 1) if share.batch_size % n == 0]))
    whole = oriented(aspects, Share(share.batch_size), seed, count)
    whole.epoch = epoch
    order = list(whole)
    plain = EpochSampler(len(aspects), Share(share.batch_size), seed)
    plain.epoch = epoch
    assert len(order) == len(whole) == len(list(plain)) == len(aspects) // share.batch_size * share.batch_size
    assert len({index for index, _ in order}) == len(order)
    assert {**dict(order), **dict(plain)} == {**dict(plain), **dict(order)}  # the same seed for what both have
    runs = [{aspects[index] < 1 for index, _ in order[at : at + count]} for at in range(0, len(order), count)]
    assert sum(len(run) > 1 for run in runs) <= 1
    start = data.draw(st.integers(0, whole.updates))
    ranks = []
    for rank in range(share.ranks):
        sampler = oriented(aspects, replace(share, rank=rank), seed, count)
        sampler.epoch, sampler.start = epoch, start
        ranks.append(list(sampler))
    assert len({len(part) for part in ranks}) == 1
    size, chunks = share.micro_batch, len(ranks[0]) // share.micro_batch
    together = [pair for at in range(chunks) for part in ranks for pair in part[at * size : (at + 1) * size]]
    assert together == order[start * share.batch_size :]


@given(st.lists(st.sampled_from([0.5, 2.0]), min_size=1, max_size=30), SHARES, SEEDS, st.integers(1, 6), st.data())
def test_so_do_those_of_an_endless_row(aspects, share, seed, updates, data):
    """But for what is left of each group in a pass, and where passes meet; and every image comes once in each pass."""
    count = data.draw(st.sampled_from([n for n in range(1, share.batch_size + 1) if share.batch_size % n == 0]))
    sampler, drawn = oriented(aspects, Share(share.batch_size), seed, count, updates), []
    for sampler.epoch in range(4):
        drawn += [index for index, _ in sampler]
    for start in range(0, len(drawn) - len(aspects) + 1, len(aspects)):
        assert sorted(drawn[start : start + len(aspects)]) == list(range(len(aspects)))
    mixed = sum(len({aspects[index] for index in drawn[at : at + count]}) > 1 for at in range(0, len(drawn), count))
    assert mixed <= 2 * -(-len(drawn) // len(aspects))


def test_the_order_of_groups_is_as_random_as_that_of_images():
    aspects = [2.0] * 600 + [0.5] * 200
    sampler, firsts = oriented(aspects, Share(8), 0, 8), []
    for sampler.epoch in range(200):
        firsts.append(aspects[sampler.update(sampler.epoch, 0)[0]] < 1)
    assert 0.15 < sum(firsts) / len(firsts) < 0.35


def test_a_batch_of_broken_runs_is_refused():
    with pytest.raises(UserError, match=r"batch_size 8 cannot be divided into runs of 3 .* make it a multiple of 3"):
        oriented([1.0] * 20, Share(8), 0, 3)
