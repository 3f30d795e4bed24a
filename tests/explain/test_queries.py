"""Maps of the global queries."""

import pytest
import torch

from explain.models import classifier, image
from gcvit.errors import UserError
from gcvit.explain import Look
from gcvit.explain.maps import principal_components


def test_channels_are_those_of_the_stage() -> None:
    seen = Look(classifier(), image())
    for stage in range(4):
        found, traced = seen.query(stage), seen.trace.queries[stage][0]
        assert found.shape == (*seen.config.stage_windows[stage], seen.config.channels[stage])
        head = seen.config.heads[stage] - 1  # the last one's channels are the last
        assert torch.equal(found[0, 1, -traced.shape[-1] :], traced[head, 1].detach())


def test_components_are_fitted_over_all_images_with_fixed_signs() -> None:
    seen = [Look(classifier(), image(seed=seed)).query(1) for seed in (1, 2, 3)]
    found = principal_components(seen)
    tokens = torch.cat([x.flatten(0, 1) for x in found])
    assert tokens.mean(0).abs().max() < 1e-9
    spread = tokens.T @ tokens
    assert (spread - spread.diag().diag()).abs().max() < 1e-9 * spread.max()
    assert (spread.diag().diff() <= 0).all()
    for again, first in zip(principal_components(seen[::-1])[::-1], found, strict=True):
        assert torch.allclose(again, first)


def test_more_components_than_channels_are_refused() -> None:
    with pytest.raises(UserError, match="components"):
        principal_components([torch.zeros(2, 2, 3)], 4)
