"""Every design that the paper compares is explained, with the maps that it has."""

import numpy as np
import pytest

from explain.models import image, opened_classifier
from gcvit.errors import UserError
from gcvit.explain import Look, measure_reach
from gcvit.explain.maps import maps_of
from gcvit.explain.reach import table
from gcvit.explain.report_card import graded_maps
from gcvit.explain.settings import Choice
from gcvit.model.config import STAGES
from gcvit.serve.views import View
from gcvit.tasks.ablations import ABLATIONS, Ablation
from laws.models import small_model


@pytest.mark.parametrize("ablation", ABLATIONS.values(), ids=ABLATIONS)
def test_every_design_of_the_ablations_is_explained(ablation: Ablation) -> None:
    """With the maps that it has: in windows where nothing is asked of the picture, no queries where none are made."""
    changes = {name: x for name, x in ablation.changes.items() if name not in ("dim", "depths", "heads", "windows")}
    opened = opened_classifier(small_model(0, **changes))
    seen = Look(opened, image(96, 96))
    maps = maps_of(seen, Choice())
    assert len(maps.queries) == (STAGES if seen.config.generators else 0)
    assert any(title.startswith("global attention") for title in maps.maps) == ("global" in seen.config.blocks)
    assert all(np.isfinite(found).all() for found in maps.maps.values())
    graded = graded_maps(seen, seen.targets[0].name)
    assert {"Grad-CAM", "element-wise Grad-CAM"} < set(graded)
    for title, found in graded.items():
        assert np.isfinite(found).all(), title
    view = View("id", "name", seen, "line")
    for at in seen.blocks:
        shown = view.at_point(at, None, 0.3, 0.4)
        assert ("window" in shown, "image" in shown) == (
            at in seen.mapped,
            seen.config.block_kinds[at[0]][at[1]] == "global",
        )
    for at in set(seen.blocks) - set(seen.mapped):
        with pytest.raises(UserError, match=f"block {at[1]} of stage {at[0]} is "):
            seen.attention(at)
    with pytest.raises(UserError, match="no block"):
        view.at_point((9, 0), None, 0.3, 0.4)
    if seen.mapped == seen.blocks:
        return
    (reach,) = measure_reach(opened, [np.zeros((96, 96, 3), np.uint8)], places=1)
    assert np.isfinite(reach.numbers["attention"]).tolist() == [at in seen.mapped for at in seen.blocks]
    table([reach])
