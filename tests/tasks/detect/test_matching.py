"""The matcher against loops over numbers, and what the sampler promises."""

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gcvit.data.sampling import derive_seed
from gcvit.tasks.detect import matching
from gcvit.tasks.detect.matching import BACKGROUND, BETWEEN, draw, match
from tasks.detect import scalar

# On a coarse grid many IoUs are equal, lie on a threshold, or belong to boxes without area.
boxes = st.lists(
    st.tuples(*[st.integers(0, 4)] * 4).map(lambda e: (min(e[0], e[2]), min(e[1], e[3]), *map(max, e[:2], e[2:]))),
    max_size=8,
)


def tensor(boxes: list) -> torch.Tensor:
    return torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)


@given(
    boxes,
    boxes,
    st.sampled_from([(0.7, 0.3), (0.5, 0.5), (0.6, 0.6), (0.25, 0.25)]),
    st.sampled_from([None, 0.1, 0.3, 0.5]),
    st.booleans(),
)
def test_matching(some, objects, thresholds, floor, little_room) -> None:
    before = matching.ROOM
    matching.ROOM = 2 if little_room else before  # one object after the other
    try:
        found = match(tensor(some), tensor(objects), *thresholds, floor)
    finally:
        matching.ROOM = before
    assert found.tolist() == scalar.match(some, objects, *thresholds, floor)


def test_the_closest_overwrite_what_was_found() -> None:
    """Published so: the anchor has IoU 0.8 with the first object, and is still the closest one of the second."""
    anchor, first, second = (0, 0, 10, 10), (0, 0, 10, 8), (0, 0, 10, 4)
    assert match(tensor([anchor]), tensor([first, second]), 0.7, 0.3, 0.3).tolist() == [1]
    assert match(tensor([anchor]), tensor([first, second]), 0.7, 0.3, 0.41).tolist() == [0]
    assert match(tensor([anchor]), tensor([first, second]), 0.7, 0.3, None).tolist() == [0]


def test_all_of_the_equally_close_are_taken() -> None:
    left, right, thing = (0, 0, 10, 10), (10, 0, 20, 10), (5, 0, 15, 10)
    assert match(tensor([left, right, (50, 50, 60, 60)]), tensor([thing]), 0.7, 0.3, 0.3).tolist() == [0, 0, BACKGROUND]


def test_nothing_to_match() -> None:
    assert match(tensor([(0, 0, 1, 1)]), tensor([]), 0.7, 0.3, 0.3).tolist() == [BACKGROUND]
    assert match(tensor([]), tensor([(0, 0, 1, 1)]), 0.7, 0.3, 0.3).tolist() == []


def test_a_thousand_objects_need_no_table_of_all() -> None:
    from tasks.detect.building import random_boxes

    some, objects = random_boxes(3000, 0), random_boxes(1000, 1)
    assert match(some, objects, 0.7, 0.3, 0.3).shape == (3000,)
    whole = match(some, objects, 0.5, 0.5, None)
    before, matching.ROOM = matching.ROOM, 10_000
    try:
        assert torch.equal(match(some, objects, 0.5, 0.5, None), whole)
    finally:
        matching.ROOM = before


@given(
    st.lists(st.sampled_from([BETWEEN, BACKGROUND, 0, 1, 2]), max_size=60),
    st.integers(1, 40),
    st.sampled_from([0.25, 0.5]),
    st.integers(0, 2**62),
)
def test_drawing(matched, number, share, seed) -> None:
    positives, negatives = draw(torch.tensor(matched, dtype=torch.int64), number, share, seed)
    objects, background = sum(m >= 0 for m in matched), matched.count(BACKGROUND)
    assert len(positives) == min(objects, int(number * share))
    assert len(negatives) == min(background, number - len(positives))  # not padded up, and no share of their own
    assert all(matched[at] >= 0 for at in positives)
    assert all(matched[at] == BACKGROUND for at in negatives)
    for drawn in (positives.tolist(), negatives.tolist()):
        assert drawn == sorted(set(drawn))


def test_background_fills_up_where_objects_are_few() -> None:
    positives, negatives = draw(torch.tensor([0, BACKGROUND, 1] + [BACKGROUND] * 97), 20, 0.5, 0)
    assert positives.tolist() == [0, 2]
    assert len(negatives) == 18


def test_drawing_depends_on_its_seed_alone() -> None:
    matched = torch.tensor([BACKGROUND] * 500 + [0] * 500)
    expected = draw(matched, 64, 0.5, derive_seed(0, 7, 3))
    before = torch.random.get_rng_state(), random.getstate()
    torch.manual_seed(5)
    torch.rand(3)
    state = torch.random.get_rng_state()
    again = draw(matched, 64, 0.5, derive_seed(0, 7, 3))
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.random.set_rng_state(before[0])
    assert all(torch.equal(a, b) for a, b in zip(expected, again, strict=True))
    for key in ((1, 7, 3), (0, 8, 3), (0, 7, 4)):
        other = draw(matched, 64, 0.5, derive_seed(*key))
        assert not any(torch.equal(a, b) for a, b in zip(expected, other, strict=True))


def test_every_box_can_be_drawn() -> None:
    matched, seen = torch.tensor([BACKGROUND] * 20 + [0] * 20), torch.zeros(40)
    for seed in range(400):
        for drawn in draw(matched, 10, 0.5, seed):
            seen[drawn] += 1
    assert seen.min() > 60  # of 100 on average
    assert seen.max() < 140


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_the_first_of_several_equal_objects(kind: torch.dtype) -> None:
    thing = torch.tensor([[0.0, 0, 4, 4]], dtype=kind)
    assert match(thing, thing.repeat(5, 1), 0.5, 0.5, None).tolist() == [0]
    assert match(thing, thing.repeat(5, 1), 0.5, 0.5, 0.5).tolist() == [4]
