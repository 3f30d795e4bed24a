"""Student's t test is scipy's."""

import pytest
import torch
from scipy.stats import ttest_1samp

from gcvit.metrics.significance import t_test


@pytest.mark.parametrize("number", [2, 3, 4, 5, 8, 21, 50])
@pytest.mark.parametrize("expected", [0.0, 0.45, 3.0])
def test_it_is_scipys(number: int, expected: float) -> None:
    values = torch.rand(number, generator=torch.Generator().manual_seed(number), dtype=torch.float64).tolist()
    assert t_test(values, expected) == pytest.approx(ttest_1samp(values, expected).pvalue, rel=1e-9, abs=1e-14)


def test_values_that_are_all_alike() -> None:
    assert t_test([1.0, 1.0, 1.0], 1.0) == 1
    assert t_test([1.0, 1.0, 1.0], 0.5) is None
    assert t_test([0.51 - 0.5, 0.61 - 0.6]) is None  # but for rounding
    assert t_test([0.3 - 0.1 - 0.2, 0.0]) == 1
    assert t_test([0.5], 0.5) is None
