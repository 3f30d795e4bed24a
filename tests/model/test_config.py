"""What the configuration reads and refuses."""

from dataclasses import replace
from math import inf, nan

import pytest

from gcvit.errors import UserError
from gcvit.model import VARIANTS, GCViTConfig
from gcvit.model.config import sides


def test_sizes_in_words():
    assert sides(224) == sides("224") == (224, 224)
    assert sides("800x1344") == (800, 1344)
    for wrong in ("800x", "1x2x3", "large", "-224", "", "9" * 5000):
        with pytest.raises(ValueError, match="HEIGHTxWIDTH"):
            sides(wrong)


ODD = (None, "x", True, -1, nan, inf, -inf, 10**400, [], [1], {}, 1e9, [10**9] * 4, [nan] * 4, ["a"] * 4, [[1]] * 4)
# The greatest value that each field takes, and one beyond.
BOUNDS = {
    "dim": (1024, 1025),
    "depths": ((2, 128, 2, 2), (2, 129, 2, 2)),
    "query_mbconvs": ((16, 1, 1, 1), (17, 1, 1, 1)),
    "heads": ((1, 1, 1, 512), (1, 1, 1, 1024)),
    "mlp_ratio": (16, 16.01),
    "layer_scale": (-1000, 1000.1),
    "drop_path": (0.999, 1),
    "dropout": (0, -0.1),
    "attention_dropout": (0.5, 1.0),
    "head_dropout": (0.5, 1.0),
    "img_size": (16384, 16385),
    "windows": (1024, 1025),
    "in_chans": (4096, 4097),
    "num_classes": (10**6, 10**6 + 1),
    "head": (False, 0),
    "blocks": (("global", "shifted"), ("global", "globe")),
    "stem": ("patch", "patches"),
    "downsampler": ("pool_conv", "pool"),
    "squeeze_excite": (False, 0),
    "query_convolutions": (False, 0),
    "query_resize": ("nearest", "area"),
    "position_bias": (False, 0),
    "mask_padding": (False, 0),
}


@pytest.mark.parametrize("name", GCViTConfig.__dataclass_fields__)
def test_every_field_is_typed_and_bounded(name):
    inside, outside = BOUNDS[name]
    replace(GCViTConfig(), **{name: inside})
    what = "(stage . has|the window of stage|image of)" if name in ("heads", "windows", "img_size") else name
    odd = [value for value in ODD if not (value is True and isinstance(inside, bool))]
    for value in (outside, *odd):
        if (name, value) in (("layer_scale", None), ("windows", None), ("layer_scale", -1)):
            continue
        with pytest.raises(UserError, match=f"({name}|{what})") as caught:
            replace(GCViTConfig(), **{name: value})
        assert len(str(caught.value)) < 300


def test_the_variants_lie_far_within_the_bounds():
    for row in VARIANTS.values():
        assert row.dim * 5 <= BOUNDS["dim"][0]
        assert max(row.depths) * 4 <= 128
