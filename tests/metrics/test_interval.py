"""The Wilson interval against SciPy's."""

import pytest
from scipy.stats import binomtest

from gcvit.metrics import wilson


@pytest.mark.parametrize(("hits", "images"), [(0, 1), (1, 1), (0, 20), (7, 20), (20, 20), (41_234, 50_000)])
def test_equal_to_scipy(hits: int, images: int) -> None:
    theirs = binomtest(hits, images).proportion_ci(method="wilson")
    assert wilson(hits, images) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@pytest.mark.parametrize(("hits", "images"), [(0, 0), (3, 2), (-1, 2)])
def test_what_is_no_share_is_an_error(hits: int, images: int) -> None:
    with pytest.raises(ValueError, match="not a share"):
        wilson(hits, images)
