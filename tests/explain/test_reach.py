"""How far blocks reach: on fields that are known, and beside other models."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from explain.models import classifier, image
from gcvit.errors import UserError
from gcvit.explain import Look, measure_reach, reach
from gcvit.explain.figures import draw_reach
from gcvit.explain.reach import attention_distance, block_maps, fields, outside_of, reach_of, save_reach, table
from gcvit.model import gcvit
from gcvit.model.gcvit import StageRecord
from gcvit.model.layers import as_nchw, as_nhwc
from laws.models import assert_equal, random_images, small_model
from laws.weights import meaningful_weights

CENTRE = torch.tensor([[0.5, 0.5]])


class Convolutions(nn.Module):
    """3×3 convolutions of ones, one after the other."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(count)))
        for weight in self.parameters():
            nn.init.ones_(weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


def test_the_field_of_convolutions_is_known() -> None:
    """Of n layers the outer product of the coefficients of (1 + t + t²)ⁿ, 2n + 1 pixels a side."""
    side, model = 31, Convolutions(4).double()
    x = torch.randn(1, 1, side, side, dtype=torch.float64)
    row = np.ones(1)
    for found in fields(block_maps(model, model), x, CENTRE):
        row = np.convolve(row, np.ones(3))
        expected = np.pad(np.outer(row, row), (side - len(row)) // 2)
        assert_equal(found[0] / found.sum(), torch.from_numpy(expected / expected.sum()), "the field")
        far = np.hypot(*np.mgrid[-(side // 2) : side // 2 + 1, -(side // 2) : side // 2 + 1])
        middle = torch.tensor([[side / 2, side / 2]])
        assert reach_of(found, middle) == pytest.approx((expected * far).sum() / expected.sum())
        assert outside_of(found, middle, (side, side)) == 0
    lone = torch.zeros(1, 8, 8)
    lone[0, 3, 3] = 1
    assert outside_of(lone, torch.tensor([[4.5, 3.5]]), (4, 4)) == 1


@pytest.mark.parametrize("apart", [False, True])
def test_maps_are_those_of_the_pyramid_however_windows_at_the_edges_are_computed(apart, monkeypatch) -> None:
    monkeypatch.setattr(gcvit, "LARGE_BIAS", 0 if apart else 2**60)
    model, images = small_model(windows=(5, 5, 4, 2)), random_images(2, 96, 96)
    found = iter(block_maps(model, model)(images))
    for expected, depth in zip(model.pyramid(images), model.config.depths, strict=True):
        last = [next(found) for _ in range(depth)][-1]
        assert_equal(last, expected, "the map after a stage's last block")


def in_stage(stage: int, depth: int, by_values: bool = False, **changes: object) -> tuple[Callable, Tensor, nn.Module]:
    """What the first blocks of a stage make of its own input map, 12 tokens a side; and that map."""
    model = small_model(**changes)
    part = model.stages[stage]
    x = torch.randn(
        1, model.config.channels[stage], 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    part.blocks = part.blocks[:depth]

    def run(x: Tensor) -> list[Tensor]:
        if by_values:
            return [as_nchw(part(as_nhwc(x), StageRecord(range(depth), "values")))]
        return [as_nchw(part(as_nhwc(x)))]

    return run, x, part


PLACES = torch.tensor([[0.05, 0.05], [0.4, 0.3], [0.7, 0.95]])


def windows(place: Tensor, window: int, side: int = 12) -> Tensor:
    """Where the window of a place is."""
    row, column = (int(place[axis] * side) // window * window for axis in (1, 0))
    own = torch.zeros(side, side, dtype=torch.bool)
    own[row : row + window, column : column + window] = True
    return own


@pytest.mark.parametrize("window", [4, 5])
def test_a_local_block_reaches_exactly_its_window(window: int) -> None:
    run, x, _ = in_stage(1, 1, windows=window)
    (found,) = fields(run, x, PLACES)
    for place, field in zip(PLACES, found, strict=True):
        assert torch.equal(field > 0, windows(place, window))


def test_by_values_a_stage_reaches_exactly_its_window_and_with_queries_everything() -> None:
    for by_values in (True, False):
        run, x, _ = in_stage(1, 4, by_values, windows=4, depths=(2, 4, 2, 2))
        (found,) = fields(run, x, PLACES)
        for place, field in zip(PLACES, found, strict=True):
            assert torch.equal(field > 0, windows(place, 4) if by_values else torch.ones(12, 12, dtype=torch.bool))


def test_tokens_lie_a_stride_apart_where_the_last_ones_stick_out(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Tensor] = []
    monkeypatch.setattr(reach, "outside_of", lambda found, centres, window: asked.append(centres) or 0.0)
    places = torch.tensor([[0.99, 0.99]])
    reach._of(Look(classifier(), image(70, 70)), "ours", classifier().model, places)
    last = [torch.tensor([[side, side]]) for side in (70.0, 68.0, 72.0, 80.0)]  # of 18, 9, 5 and 3 tokens
    assert len(asked) == 12  # for each of 8 blocks, and once for an even field of each stage
    assert all(torch.equal(one, last[at // 3]) for at, one in enumerate(asked))


def test_a_shift_widens_by_half_a_window() -> None:
    """Swin's second block alone: its shifted window, half of one further; with the first the windows this touches."""
    run, x, _ = in_stage(1, 2, windows=4, blocks=("local", "shifted"))
    place = torch.tensor([[0.46, 0.46]])  # token 5 of 12: window 4 to 7, shifted window 2 to 5
    (found,) = fields(run, x, place)
    reached = torch.zeros(12, 12, dtype=torch.bool)
    reached[0:8, 0:8] = True
    assert torch.equal(found[0] > 0, reached)
    alone, x, part = in_stage(1, 2, windows=4, blocks=("local", "shifted"))
    part.blocks = part.blocks[1:]
    (found,) = fields(alone, x, place)
    reached = torch.zeros(12, 12, dtype=torch.bool)
    reached[2:6, 2:6] = True
    assert torch.equal(found[0] > 0, reached)


def test_the_distance_of_even_attention_is_known() -> None:
    """The mean distance of two places of a window; by weights that are all alike, by hand."""
    seen = Look(classifier(), image(64, 64))
    block = seen.block((1, 0))
    even = torch.full_like(block.weights, 1 / block.weights.shape[-1])
    whole = type(block)(even, block.logsumexp, block.lengths, block.shared, block.window, (6, 6))
    places = [(i, j) for i in range(3) for j in range(3)]
    by_hand = np.mean([np.hypot(a - c, b - d) for a, b in places for c, d in places])
    assert attention_distance(whole, 8) == pytest.approx((8 * by_hand, 8 * by_hand))


OTHERS = {
    "test_vit": {"img_size": 96},  # tokens with a class token
    "swin_tiny_patch4_window7_224": {"img_size": 96, "embed_dim": 16, "num_heads": (1, 1, 2, 2)},  # NHWC
    "convnext_atto": {},  # NCHW
    "resnet18": {},  # no blocks
}


def test_beside_any_model_of_timms(tmp_path: Path) -> None:
    opened = classifier()
    modes = [module.training for module in opened.model.modules()]
    others = {name: meaningful_weights(timm.create_model(name, **how)) for name, how in OTHERS.items()}
    steps: list[tuple[int, int]] = []
    picture = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    found = measure_reach(opened, [picture], others, places=2, progress=lambda *at: steps.append(at))
    assert [one.name for one in found] == ["small", *OTHERS]
    assert steps[-1] == (5, 5)
    ours = found[0]
    assert ours.stages == [0, 0, 1, 1, 2, 2, 3, 3]
    assert ours.kinds == ["local", "global"] * 4
    assert found[2].stages == [0, 0, 1, 1] + [2] * 6 + [3, 3]
    assert found[4].stages == [0, 0, 1, 2, 3]  # torch's stem comes first
    for one in found:
        assert all(len(values) == len(one.stages) and np.isfinite(values).all() for values in one.numbers.values())
        assert (one.numbers["outside"] >= 0).all()
        assert (one.numbers["reach"] > 0).all()
    # Queries only bring more from afar.
    assert (ours.numbers["outside"][1::2] > ours.numbers["outside by values"][1::2])[:2].all()
    assert [module.training for module in opened.model.modules()] == modes
    assert all(weight.grad is None for weight in opened.model.parameters())
    assert not any(module._forward_hooks for module in opened.model.modules())

    save_reach(found, tmp_path / "reach.npz")
    saved = np.load(tmp_path / "reach.npz", allow_pickle=False)
    assert np.array_equal(saved["small: reach by values"], ours.numbers["reach by values"])
    assert list(saved["small: kind"]) == ours.kinds
    headings, rows = table(found)
    assert len(rows) == 5 + 8 + 1 + 4 * 3  # a line for each model, and for its stages and kinds
    assert all(len(row) == len(headings) for row in rows)
    assert len(draw_reach(found).axes) == 3


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(UserError, match="pictures must be at least 1"):
        measure_reach(classifier(), [])
    with pytest.raises(UserError, match="no blocks are found in a Linear"):
        measure_reach(classifier(), [np.zeros((96, 96, 3), np.uint8)], {"a": nn.Linear(3, 3)}, places=1)
