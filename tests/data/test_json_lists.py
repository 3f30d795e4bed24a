"""Read piece by piece, a file is what the standard library reads at once, and what it refuses is refused."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcvit.data import json_lists
from gcvit.data.json_lists import read_lists
from gcvit.errors import UserError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)


def refusal(file: Path) -> str:
    """Why it is not read; "" where it is."""
    try:
        list(read_lists(file))
    except UserError as error:
        return str(error)
    return ""


def flat(found: dict) -> list:
    return [(key, one) for key, value in found.items() for one in (value if isinstance(value, list) else [value])]


@settings(max_examples=40)
@given(st.dictionaries(st.text(max_size=4), VALUES, max_size=5), st.integers(1, 40), st.sampled_from([None, 1]))
def test_pieces_of_any_size(tmp_path_factory, found, piece, indent):
    file = tmp_path_factory.getbasetemp() / "pieces.json"
    file.write_text(json.dumps(found, indent=indent, ensure_ascii=False), "utf8", "surrogatepass")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lists, "PIECE", piece)
        try:
            file.read_text("utf8")
        except UnicodeDecodeError:
            with pytest.raises(UserError, match="no valid text"):
                list(read_lists(file))
        else:
            assert list(read_lists(file)) == flat(found)


@given(st.integers(0, 70), st.text(max_size=3), st.integers(1, 90))
def test_what_is_damaged_is_refused_as_the_library_refuses_it(tmp_path_factory, at, put, piece):
    whole = '{"a": [1, 2.5, {"b": "x"}], "c": {"d": [null, true]}, "e": -12, "f": []}'
    damaged = whole[:at] + put + whole[at + 1 :]
    file = tmp_path_factory.getbasetemp() / "damaged.json"
    file.write_text(damaged, "utf8", "replace", newline="")
    try:
        expected = flat(json.loads(file.read_text("utf8")))
    except ValueError:
        expected = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lists, "PIECE", piece)
        if expected is not None and "twice" not in refusal(file):
            assert list(read_lists(file)) == expected
        else:
            assert refusal(file).startswith(str(file))
            assert "\n" not in refusal(file)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not nothing"),
        ("[1]", "not a list"),
        ("3", "not a single value"),
        ('{"a": ' + "[" * 100_000, "not readable as JSON"),
        ('{"a": [' + "[" * 100_000, "not readable as JSON"),
        ('{"a": ' + "9" * 5000 + "}", "not readable as JSON"),
        ('{"a": 1, "a": 2}', "twice"),
        ('{"a": 1} {', "more text"),
        ('{"a": [1 2]}', "expected"),
        ("{3: 1}", "no text"),
        ('{"a": [1', "not readable as JSON"),
    ],
)
def test_what_is_no_object(tmp_path, text, why):
    file = tmp_path / "a.json"
    file.write_text(text)
    with pytest.raises(UserError, match=why):
        list(read_lists(file))
    with pytest.raises(UserError, match="cannot be read"):
        list(read_lists(tmp_path))


def test_a_mark_at_the_beginning_is_passed_over(tmp_path):
    file = tmp_path / "a.json"
    file.write_bytes(b'\xef\xbb\xbf{"a": NaN}')
    ((key, value),) = read_lists(file)
    assert key == "a"
    assert value != value
