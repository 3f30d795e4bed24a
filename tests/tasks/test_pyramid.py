"""What heads on a pyramid are made of: norms of each map and of groups, convolutions that fold, resizing."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.functional import interpolate

from gcvit.tasks.pyramid import ConvNormReLU, MapNorms, norm_layer, resize
from laws.models import assert_equal
from tasks.segmenters import matter


@pytest.mark.parametrize(("channels", "groups"), [(512, 32), (256, 16), (48, 3), (100, 5), (12, 1), (37, 1), (62, 2)])
def test_groups_divide_the_channels_and_are_large_enough_for_one_cell(channels: int, groups: int) -> None:
    norm = norm_layer("group", channels)
    assert isinstance(norm, nn.GroupNorm)
    assert norm.num_groups == groups


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_a_fused_convolution_computes_the_same(kernel: int, norm: str) -> None:
    layer = matter(ConvNormReLU(6, 8, kernel, norm))  # type: ignore[arg-type]
    x = torch.randn(2, 6, 9, 12, dtype=torch.float64)
    expected = layer(x)
    assert expected.shape == (2, 8, 9, 12)
    layer.fuse()
    assert isinstance(layer.norm, nn.Identity) == (norm == "batch")
    assert_equal(layer(x), expected, "fused")


def test_each_map_is_normalised_over_its_own_channels() -> None:
    norms, maps = matter(MapNorms((4, 6))), [torch.randn(2, c, 3, 5, dtype=torch.float64) for c in (4, 6)]
    for norm, x, found in zip(norms, maps, norms(maps), strict=True):
        assert isinstance(norm, nn.LayerNorm)
        centred = (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + norm.eps).sqrt()
        expected = centred * norm.weight[:, None, None] + norm.bias[:, None, None]
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_resizing_keeps_type_and_what_has_the_size_already(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mixed precision on a GPU resizes in fp32; here that is made so."""
    x, like = torch.randn(1, 3, 4, 5).to(dtype), torch.zeros(1, 7, 9, 6)
    expected = F.interpolate(x.float(), (9, 6), mode="bilinear")
    monkeypatch.setattr(F, "interpolate", lambda x, *rest, **words: interpolate(x.float(), *rest, **words))
    found = resize(x, like)
    assert (found.dtype, found.shape) == (dtype, (1, 3, 9, 6))
    assert torch.equal(found, expected.to(dtype))
    assert resize(x, x) is x
