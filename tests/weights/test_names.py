"""The renaming tables are one to one and cover every model exactly, with the shapes of its parameters."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gcvit.model import VARIANTS, GCViT, GCViTConfig
from gcvit.weights.names import layout_of, renaming, shapes_of, table

LAYOUTS = ("gcvit", "nvlabs", "timm")


def shapes_in(config):
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in GCViT(config).state_dict().items()}


@pytest.mark.parametrize("name", VARIANTS)
def test_table_names_every_parameter_once(name):
    rows = table(VARIANTS[name])
    assert {row.gcvit: row.shape for row in rows} == shapes_in(VARIANTS[name])
    for layout in LAYOUTS:
        theirs = [getattr(row, layout) for row in rows]
        assert len(set(theirs)) == len(rows)
        assert layout_of(dict.fromkeys(theirs)) == layout
        assert [renaming(layout)[name] for name in theirs] == [row.gcvit for row in rows]


def four(least, most):
    return st.tuples(*[st.integers(least, most)] * 4)


@settings(max_examples=30)
@given(
    st.builds(
        GCViTConfig,
        dim=st.sampled_from([8, 24]),
        depths=four(2, 4),
        heads=st.tuples(*[st.sampled_from([1, 2, 4, 8])] * 4),
        mlp_ratio=st.floats(0.2, 4),
        layer_scale=st.sampled_from([None, 1e-5]),
        query_mbconvs=four(1, 4),
        img_size=st.tuples(*[st.integers(32, 400)] * 2),
        windows=st.none() | st.tuples(*[st.tuples(*[st.integers(1, 9)] * 2)] * 4),
        in_chans=st.integers(1, 5),
        num_classes=st.integers(0, 9),
        head=st.booleans(),
    )
)
def test_shapes_follow_from_the_configuration(config):
    assert shapes_of(config) == shapes_in(config)


def test_shapes_of_the_narrowest_model():
    config = GCViTConfig(dim=1, heads=(1, 1, 1, 1), mlp_ratio=1.0)
    assert shapes_of(config) == shapes_in(config)


def test_timm_names_are_timms():
    timm = pytest.importorskip("timm")
    model = timm.create_model("gcvit_small")
    assert {row.timm for row in table(VARIANTS["gcvit_small"])} == set(model.state_dict())
