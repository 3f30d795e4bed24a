"""The renaming tables are one to one and cover every model exactly."""

import pytest
import torch

from gcvit.model import VARIANTS, GCViT
from gcvit.weights.names import layout_of, table


@pytest.mark.parametrize("name", VARIANTS)
def test_table_names_every_parameter_once(name):
    with torch.device("meta"):
        state = GCViT(VARIANTS[name]).state_dict()
    rows = table(VARIANTS[name])
    assert {row.gcvit for row in rows} == set(state)
    for layout in ("gcvit", "nvlabs", "timm"):
        theirs = [getattr(row, layout) for row in rows]
        assert len(set(theirs)) == len(rows)
        assert layout_of(dict.fromkeys(theirs)) == layout


def test_timm_names_are_timms():
    timm = pytest.importorskip("timm")
    model = timm.create_model("gcvit_small")
    assert {row.timm for row in table(VARIANTS["gcvit_small"])} == set(model.state_dict())
