"""Masks are what pycocotools makes of the same polygons and run lengths, and nothing else is let in."""

import numpy as np
import pycocotools.mask as theirs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcvit.data import masks as mask

SIDES = st.integers(1, 70)
PLACES = st.one_of(st.integers(-20, 90), st.floats(-20, 90), st.decimals(-20, 90, places=2).map(float))
POLYGONS = st.lists(st.lists(st.tuples(PLACES, PLACES), min_size=3, max_size=9), min_size=1, max_size=3)


@settings(max_examples=60)
@given(POLYGONS, SIDES, SIDES)
def test_polygons_are_drawn_as_pycocotools_draws_them(parts, height, width):
    flat = [[place for point in part for place in point] for part in parts]
    packed = mask.pack(flat)
    expected = theirs.merge(theirs.frPyObjects(flat, height, width))["counts"]
    assert mask.unpack(packed, (height, width)) == expected
    bitmap = np.array(theirs.decode([{"size": [height, width], "counts": expected}]))[:, :, 0]
    assert np.array_equal(mask.decode([expected], (height, width))[0], bitmap)


@given(st.integers(0, 2**32 - 1), SIDES, SIDES, st.sampled_from([0.0, 0.03, 0.5, 1.0]))
def test_run_lengths_in_both_forms(seed, height, width, share):
    bitmap = np.random.default_rng(seed).random((height, width)) < share
    (counts,) = mask.encode(bitmap[None])
    assert counts == theirs.encode(np.asfortranarray(bitmap, np.uint8))["counts"]
    assert np.array_equal(mask.decode([counts], (height, width))[0], bitmap)
    runs = mask.runs(counts)
    flat = bitmap.T.reshape(-1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat]).astype(int)))
    assert runs.tolist() == np.diff([0, *edges, len(flat)]).tolist()
    for form in (counts.decode(), runs.tolist()):
        packed = mask.pack({"size": [height, width], "counts": form})
        assert (packed.size, mask.unpack(packed, (height, width))) == ((height, width), counts)
    assert mask.areas([counts], (height, width)) == [bitmap.sum()]


def test_boxes_around_masks():
    packed = mask.pack([[2, 3, 10, 3, 10, 8, 2, 8], [20, 1, 30, 1, 30, 9.6, 20, 9.6]])
    assert mask.corners(packed) == pytest.approx((2, 1, 28, 8.6))
    counts = mask.unpack(packed, (30, 40))
    assert mask.boxes([counts], (30, 40)).tolist() == [[2, 1, 28, 9]]
    assert mask.corners(mask.pack({"size": [30, 40], "counts": counts.decode()})) == (2, 1, 28, 9)
    assert mask.decode([mask.rectangle((-5, 3, 10, 100), (30, 40))], (30, 40)).sum() == 5 * 27
    assert not mask.decode([mask.rectangle((50, 3, 10, 100), (30, 40))], (30, 40)).any()


def test_no_mask():
    for nothing in (None, [], {}, ""):
        assert mask.pack(nothing).kind == mask.NONE
    assert not mask.decode([mask.unpack(mask.pack(None), (3, 4))], (3, 4)).any()
    assert mask.decode([], (3, 4)).shape == (0, 3, 4)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ([[1, 2, 3, 4, 5]], "odd number"),
        ([[1, 2, 3, 4]], "fewer than three corners"),
        ([[]], "fewer than three corners"),
        ([[0, 0, 5, 0, float("nan"), 5]], "not finite or far off"),
        ([[0, 0, 5, 0, 1e9, 5]], "not finite or far off"),
        ([[0, 0, 5, 0, float("inf"), 5]], "not finite or far off"),
        ([[0, 0, 5, 0, 10**30, 5]], "no list of numbers"),
        ([["0", "0", "5", "0", "5", "5"]], "no list of numbers"),
        ([[[0, 0], [5, 0], [5, 5]]], "no list of numbers"),
        ([[0, 0, 5, 0, None, 5]], "no list of numbers"),
        ([[True] * 6], "no list of numbers"),
        ([{"x": 1}], "no list of numbers"),
        ([0, 0, 5, 0, 5, 5], "no list of numbers"),
        ([[0, 0, 90_000, 0] * 2000], "longer than"),
        ("abc", "neither"),
        (7, "neither"),
        ({"counts": [12]}, "no height and width"),
        ({"size": [3, 4, 5], "counts": [60]}, "no height and width"),
        ({"size": ["3", 4], "counts": [12]}, "no height and width"),
        ({"size": [True, 4], "counts": [4]}, "no height and width"),
        ({"size": [-3, -4], "counts": [12]}, "no height and width"),
        ({"size": [10**6, 10**6], "counts": [10**12]}, "more than"),
        ({"size": [10**30, 10**30], "counts": [1]}, "more than"),
        ({"size": [3, 4]}, "without counts"),
        ({"size": [3, 4], "counts": [11]}, "11 pixels"),
        ({"size": [3, 4], "counts": [10**9]}, "no number of pixels"),
        ({"size": [3, 4], "counts": [13, -1]}, "no number of pixels"),
        ({"size": [3, 4], "counts": [12.0]}, "no number of pixels"),
        ({"size": [3, 4], "counts": []}, "0 pixels"),
        ({"size": [3, 4], "counts": ""}, "0 pixels"),
        ({"size": [3, 4], "counts": "é"}, "no compressed"),
        ({"size": [3, 4], "counts": "  "}, "no compressed"),
        ({"size": [3, 4], "counts": "~"}, "no compressed"),
        ({"size": [3, 4], "counts": "o"}, "no compressed"),
        ({"size": [3, 4], "counts": "oooooooooooo0"}, "more pixels than any"),
        ({"size": [3, 4], "counts": "O<"}, "no number of pixels"),
    ],
)
def test_what_is_no_mask(found, why):
    with pytest.raises(mask.MaskError, match=why):
        mask.pack(found)


@given(st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=30), st.integers(1, 9), st.integers(1, 9))
def test_whatever_stands_in_counts_is_a_mask_or_none(counts, height, width):
    try:
        packed = mask.pack({"size": [height, width], "counts": counts})
    except mask.MaskError:
        return
    if packed.kind == mask.COUNTS:
        assert mask.decode([packed.content], (height, width)).shape == (1, height, width)
