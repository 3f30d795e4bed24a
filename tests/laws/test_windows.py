"""Splitting a map into windows and merging them again is the identity; windows and tokens are in reading order."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gcvit.model import windows
from laws import bugs
from laws.models import random_images

SIDES = st.integers(1, 13)
PAIRS = st.tuples(SIDES, SIDES)


def numbered_map(size, batch=2, channels=3):
    return torch.arange(batch * size[0] * size[1] * channels).float().view(batch, *size, channels)


def check_identity(size, window):
    x = numbered_map(size)
    assert torch.equal(windows.merge(windows.split(x, window), window, size), x), f"map {size}, window {window}"


def check_order(size, window):
    """Token t of window n is where counting row by row says, and the padding is where the map is not."""
    x = numbered_map(size)
    tokens = windows.split(x, window)
    padding = windows.padding_mask(size, window, x.device)
    if padding is None:
        padding = torch.zeros(tokens.shape[1:3], dtype=torch.bool)
    columns = -(-size[1] // window[1])
    seen = 0
    for n in range(tokens.shape[1]):
        for t in range(tokens.shape[2]):
            y = n // columns * window[0] + t // window[1]
            x_ = n % columns * window[1] + t % window[1]
            inside = y < size[0] and x_ < size[1]
            assert padding[n, t] == (not inside), f"padding of window {n}, token {t}: map {size}, window {window}"
            if inside:
                assert torch.equal(tokens[:, n, t], x[:, y, x_]), f"window {n}, token {t}: map {size}, {window}"
                seen += 1
    assert seen == size[0] * size[1]
    assert not padding.all(1).any(), "a window of nothing but padding"


@given(PAIRS, PAIRS)
@settings(max_examples=200)
def test_split_then_merge_is_the_identity(size, window):
    check_identity(size, window)


@given(st.tuples(st.integers(1, 4), st.integers(1, 4)), st.tuples(st.integers(1, 4), st.integers(1, 4)))
@settings(max_examples=50)
def test_merge_then_split_is_the_identity_where_windows_fill_the_map(grid, window):
    tokens = random_images(2, grid[0] * grid[1], window[0] * window[1]).permute(0, 2, 3, 1)
    size = (grid[0] * window[0], grid[1] * window[1])
    assert torch.equal(windows.split(windows.merge(tokens, window, size), window), tokens)


@given(PAIRS, PAIRS)
@settings(max_examples=200)
def test_pieces_are_the_windows_without_their_padding(size, window):
    """Each window of each piece is one of the padded map's, less its padding, and each of these is in one piece."""
    x = numbered_map(size)
    apart = []
    for (top, left), (rows, columns), part in windows.pieces_of(size, window):
        apart += windows.cut(x[:, top : top + rows, left : left + columns], part).unbind(1)
    padding, padded = windows.padding_mask(size, window, x.device), windows.split(x, window)
    whole = [own if padding is None else own[:, ~padding[n]] for n, own in enumerate(padded.unbind(1))]
    by_first = {int(own[0, 0, 0]): own for own in whole}
    assert len(apart) == len(whole) == len(by_first)
    assert all(torch.equal(own, by_first[int(own[0, 0, 0])]) for own in apart)


@given(st.tuples(st.integers(1, 8), st.integers(1, 8)), st.tuples(st.integers(1, 5), st.integers(1, 5)))
@settings(max_examples=40)
def test_windows_and_tokens_are_in_reading_order(size, window):
    check_order(size, window)


def test_no_mask_where_windows_fill_the_map():
    assert windows.padding_mask((6, 8), (3, 4), torch.device("cpu")) is None


@pytest.mark.parametrize(
    "bug",
    [bugs.windows_column_first, bugs.tokens_of_window_transposed, bugs.padding_on_the_left],
    ids=lambda bug: bug.__name__,
)
def test_the_checks_notice(bug, monkeypatch):
    bug(monkeypatch)
    with pytest.raises(AssertionError, match="map"):
        check_identity((7, 9), (3, 2))
    with pytest.raises(AssertionError, match="map"):
        check_order((7, 9), (3, 2))
