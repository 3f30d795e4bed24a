"""Classes go by their names, and by their numbers only where there are none."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gcvit.data.segment_folders import generic_names
from gcvit.tasks.classes import match_classes, rows_by_name, rows_note, with_rows

WORDS = {"source": "RUN", "data": "DATA"}
names = st.lists(st.text(max_size=3), unique=True, min_size=1, max_size=8)


@given(names, st.data())
def test_each_class_of_the_data_finds_the_output_of_its_name(known: list[str], data: st.DataObject) -> None:
    found = data.draw(st.lists(st.sampled_from(known), unique=True, min_size=1))
    columns = match_classes(known, len(known), found, **WORDS)
    assert [known[column] for column in columns] == found


@given(names)
def test_without_names_on_one_side_they_go_by_number(known: list[str]) -> None:
    count = len(known)
    places = list(range(count))
    assert match_classes(None, count, known, **WORDS) == places
    assert match_classes(known, count, generic_names(count), **WORDS) == places
    assert match_classes(generic_names(count), count, known, **WORDS) == places


def test_classes_that_do_not_fit_are_refused_with_both_sides() -> None:
    assert match_classes(["a", "b", "c"], 3, ["c", "a"], **WORDS) == [2, 0]
    with pytest.raises(ValueError, match="DATA: classes that RUN was not trained on: 'd'; it knows 'a', 'b'"):
        match_classes(["a", "b"], 2, ["a", "d"], **WORDS)
    with pytest.raises(
        ValueError,
        match=r"^RUN has 3 outputs, 'a', 'b', 'c', so DATA needs as many classes, in the order of the outputs; it has "
        "2, 'class 0', 'class 1'$",
    ):
        match_classes(["a", "b", "c"], 3, ["class 0", "class 1"], **WORDS)
    with pytest.raises(ValueError, match=r"^RUN has 7 outputs and no class names, so DATA needs as many classes"):
        match_classes(None, 7, ["a", "b"], **WORDS)


doubled = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=7)


@given(doubled, doubled)
def test_rows_go_by_names_that_stand_once_in_both(ours: list[str], theirs: list[str]) -> None:
    rows = rows_by_name(ours, theirs)
    for there, here in rows.items():
        assert theirs[there] == ours[here]
        assert theirs.count(theirs[there]) == ours.count(ours[here]) == 1
    kept = {ours[here] for here in rows.values()}
    assert kept == {name for name in ours if ours.count(name) == 1 and theirs.count(name) == 1}
    weight, other = torch.zeros(len(ours), 2), 1 + torch.arange(len(theirs))[:, None].repeat(1, 2).float()
    changed = with_rows(weight, other, rows)
    assert not weight.any()
    for here, name in enumerate(ours):
        assert changed[here].tolist() == ([1.0 + theirs.index(name)] * 2 if name in kept else [0.0, 0.0])


def test_what_became_of_the_rows_is_said_loudly_where_some_are_fresh() -> None:
    assert rows_note(["a", "b"], ["a", "b"], 9) == (
        "the classifier's rows are those of the 2 classes of these names, of 9 in the weights"
    )
    said = rows_note(["a", "b", "c"], ["b"], 9)
    assert said.startswith("FRESH rows in the classifier for 2 of 3 classes")
    assert said.endswith(": a, c")
