"""Arithmetic and least bytes of the parts: laws, and one model counted by hand."""

import pytest
import torch

from gcvit import create_model
from gcvit.bench.cost import macs, parameters
from gcvit.bench.work import HEAD, STEM, Place, place_of, work


def meta(name, **settings):
    with torch.device("meta"):
        return create_model(name, **settings)


@pytest.mark.parametrize(
    ("name", "size", "settings"),
    [
        ("gcvit_tiny", (224, 224), {}),
        ("gcvit_pico", (64, 64), {}),
        ("gcvit_pico", (65, 97), {"in_chans": 1}),  # padding in every stage
        ("gcvit_xxtiny", (100, 260), {"windows": (7, 7, 14, 7), "num_classes": 0}),
        ("gcvit_small", (256, 192), {"img_size": (256, 192), "head": False}),
    ],
)
@pytest.mark.parametrize("batch", [1, 3])
def test_the_parts_make_the_whole(name, size, settings, batch):
    model = meta(name, **settings)
    parts = work(model, size, batch)
    assert sum(part.macs for part in parts) == macs(model, size, batch)
    assert len({part.place for part in parts}) == len(parts)


def test_weights_are_read_once_whatever_the_batch():
    model = meta("gcvit_pico")
    one, two, three = (sum(part.numbers for part in work(model, (64, 64), batch)) for batch in (1, 2, 3))
    assert three - two == two - one
    assert one - (two - one) == parameters(model)


def test_bytes_by_hand():
    # At 64 px the maps are 16, 8, 4 and 2 tokens a side.
    model = meta("gcvit_pico", img_size=64, windows=(4, 4, 4, 2), num_classes=10)
    dim, depths, ratio = model.config.dim, model.config.depths, model.config.mlp_ratio
    found = {part.place: part.numbers for part in work(model, (64, 64), 1)}
    map1, map2 = 256 * dim, 64 * 2 * dim
    reduced = max(dim // 4, 1)
    mbconv = 9 * dim + dim * dim + 2 * dim * reduced
    stem = (27 * dim + dim) + 4 * dim + mbconv + 9 * dim * dim
    assert found[STEM] == 3 * 64 * 64 + map1 + stem
    down = 2 * dim + mbconv + 9 * dim * 2 * dim + 4 * dim
    assert found[Place("stage 1", "downsampler")] == map1 + map2 + down
    query = 16 * dim
    generator = model.config.query_mbconvs[0] * mbconv
    assert found[Place("stage 1", "query generator")] == map1 + query + generator
    local, global_ = (depths[0] + 1) // 2, depths[0] // 2
    linears = 2 * dim + (dim * dim + dim)  # norm, projection
    linears_1 = depths[0] * linears + local * 3 * (dim * dim + dim) + global_ * 2 * (dim * dim + dim)
    assert found[Place("stage 1", "norms, linears")] == depths[0] * map1 + linears_1
    assert found[Place("stage 1", "attention")] == global_ * query + depths[0] * 49 * model.config.heads[0]
    hidden = int(dim * ratio)
    mlp = 2 * dim + 2 * dim * hidden + hidden + dim
    assert found[Place("stage 1", "MLP")] == depths[0] * (map1 + mlp)
    last = 8 * dim
    assert found[HEAD] == 4 * last + 10 + 2 * last + 10 * last + 10


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("", HEAD),
        ("norm.weight", HEAD),
        ("stages", HEAD),
        ("stem.downsample.mbconv", STEM),
        ("stages.0", Place("stage 1", "windows, sums")),
        ("stages.3.query.mbconvs.0", Place("stage 4", "query generator")),
        ("stages.1.blocks.2", Place("stage 2", "windows, sums")),
        ("stages.1.blocks.2.norm1", Place("stage 2", "norms, linears")),
        ("stages.1.blocks.2.attention", Place("stage 2", "attention")),
        ("stages.1.blocks.2.attention.bias.table", Place("stage 2", "attention")),
        ("stages.1.blocks.2.attention.proj.weight", Place("stage 2", "norms, linears")),
        ("stages.1.blocks.2.scale2.gamma", Place("stage 2", "MLP")),
        ("stages.2.downsample.conv.weight", Place("stage 3", "downsampler")),
    ],
)
def test_places(name, place):
    assert place_of(name) == place
