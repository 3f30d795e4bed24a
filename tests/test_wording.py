"""Texts for people: nothing in them that a terminal obeys, and numbers as one reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcvit.wording import by, count, harmless, is_harmless, listed, percent, plural, rate

HOSTILE = [
    *("\x1b[2J", "a\x07", "a\rb", "\x9b1m", "a\u202eb", "a\u2066b", "a\u200fb", "a\u2028b", "\ud800", "\x00"),
    "a\u061cb",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_terminal_obeys_is_escaped(text: str) -> None:
    assert not is_harmless(text)
    shown = harmless(text)
    assert is_harmless(shown)
    assert "\\" in shown


@pytest.mark.parametrize("text", ["Zürich", "日本　語", "a\u00a0b", "n01440764", "👩‍🚀", "עברית", "a/b c"])
def test_other_texts_stay(text: str) -> None:
    assert is_harmless(text)
    assert harmless(text) == text


@given(st.text(alphabet=st.characters()))
def test_what_was_made_harmless_is(text: str) -> None:
    assert is_harmless(harmless(text, keep=""))
    assert harmless(text, keep=text) == text


def test_lines_and_tabs_are_kept_in_texts_and_not_in_names() -> None:
    assert harmless("a\n\tb") == "a\n\tb"
    assert harmless("a\n\tb", keep="") == "a\\n\\tb"
    assert not is_harmless("a\nb")


def test_lists_say_how_many_more() -> None:
    assert listed([]) == "none"
    assert listed(["a", "b"]) == "a, b"
    assert listed(list("abcdef"), 5) == "a, b, c, d, e, f"
    assert listed(list("abcdefg"), 5) == "a, b, c, d, e and 2 more"
    assert listed(range(3000), 2, "<{}>".format) == "<0>, <1> and 2,998 more"
    assert listed(["a" * 300, "b" * 301, "c"]) == f"{'a' * 300}, {'b' * 300}…, c"


def test_numbers() -> None:
    assert [plural(1, "class", "es"), plural(2000, "class", "es")] == ["1 class", "2,000 classes"]
    assert [rate(1234.4), rate(3.21), rate(0.0432)] == ["1,234", "3.2", "0.043"]
    assert [count(28_234_000), count(950), count(12_345)] == ["28.2 M", "950", "12.3 k"]
    assert [percent(0.8341), percent(None)] == ["83.4%", "–"]
    assert by((224, 192)) == "224×192"
