"""How many threads compute: one where there is little to do, as many as before where there is more."""

import os
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from gcvit.engine.device import LITTLE, threads_for

CPU = torch.device("cpu")
TILE = 32 * 32  # pixels


@pytest.fixture(autouse=True)
def _two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith(("OMP_", "MKL_"))]:
        monkeypatch.delenv(name)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2, "what was before comes back"
    torch.set_num_threads(before)


def threads(weights: int, pixels: int, device: torch.device = CPU) -> int:
    """While a model of so many weights computes a batch of so many pixels."""
    with threads_for(nn.Linear(weights, 1, bias=False, device="meta"), pixels, device):
        return torch.get_num_threads()


def test_little_work_is_one_threads() -> None:
    assert threads(480_000, 64 * 64 * 32) == 1  # the quickstart
    assert threads(28_000_000, 224 * 224) == 2  # one picture for gcvit_tiny
    assert threads(12_000_000, 224 * 224) == 2
    edge = round(LITTLE / 1000) * TILE
    assert [threads(1000, edge - TILE), threads(1000, edge)] == [1, 2]


class Unasked(nn.Module):
    """Counting thousands of weights takes the time of some steps."""

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        raise AssertionError


def test_nothing_changes_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert threads(10, TILE, torch.device("cuda")) == 2
    with threads_for(Unasked(), TILE, torch.device("cuda")):
        assert torch.get_num_threads() == 2
    with threads_for(nn.Identity(), TILE, CPU):
        assert torch.get_num_threads() == 2  # a program of another runtime has no weights here
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "2")
            assert threads(10, TILE) == 2


def test_an_error_does_not_keep_the_one() -> None:
    with pytest.raises(KeyError), threads_for(nn.Linear(3, 3), TILE, CPU):
        raise KeyError
