"""A packed list of samples is the list that went in, in a tenth of the memory."""

import pickle
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gcvit.data.members import Member
from gcvit.data.samples import Samples

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..")
)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda parts: Path(*parts))
MEMBERS = st.builds(Member, PATHS, NAMES, st.integers(0, 2**62), st.integers(0, 2**40))
PAIRS = st.lists(st.tuples(PATHS | PATHS.map(lambda path: "/" / path) | MEMBERS, st.integers(0, 9)), max_size=8)


@given(PAIRS, st.data())
def test_what_went_in_comes_out(pairs, data):
    samples = Samples(pairs)
    assert list(samples) == pairs
    assert [samples[index] for index in range(len(samples))] == pairs
    assert samples.labels.tolist() == [label for _, label in pairs]
    assert pickle.loads(pickle.dumps(samples)) == samples == Samples(pairs)
    some = data.draw(st.lists(st.integers(0, len(pairs) - 1)) if pairs else st.just([]))
    assert list(samples[some]) == [pairs[index] for index in some]
    assert list(samples[1:3]) == pairs[1:3]
    if pairs:
        assert samples[-1] == pairs[-1]
        assert samples != samples[1:]


@given(PAIRS)
def test_relabelled_is_a_stable_sort(pairs):
    new = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]
    expected = sorted(((source, new[label]) for source, label in pairs), key=lambda pair: pair[1])
    assert list(Samples(pairs).relabelled(new)) == expected


def test_names_that_are_not_text_and_a_million_in_100_megabytes():
    odd = Path("folder") / b"\xff\xfe.png".decode("utf8", "surrogateescape")
    assert Samples([(odd, 3)])[0] == (odd, 3)
    samples = Samples((Path(f"/images/train/n{n % 9:08d}/n{n % 9:08d}_{n}.JPEG"), n % 9) for n in range(10_000))
    assert len(pickle.dumps(samples)) < 100 * len(samples)
    assert samples[np.int64(7)][0] == Path("/images/train/n00000007/n00000007_7.JPEG")
