"""The paper's ablations by name: what each changes in a model's design, for any task (`--ablation NAME`).

Table 4 goes from Swin-T to GC ViT-T in five steps; Table 5 is about the downsampler, Table S.2 about the global query.
The rest is what the paper leaves open. docs/ablations.md defines each.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gcvit.errors import UserError
from gcvit.model import VARIANTS, GCViTConfig
from gcvit.wording import instead


@dataclass(frozen=True)
class Ablation:
    """name: of the recipe too. does: in a few words. changes: fields of `GCViTConfig`, laid over those of a model; the
    paper's are GC ViT-T's."""

    name: str
    does: str
    changes: Mapping[str, Any]

    def config(self, model: str = "gcvit_tiny") -> GCViTConfig:
        """A model with these changes."""
        return replace(VARIANTS[model], **self.changes)


LOCAL = ("local", "local")
PATCHES = {"stem": "patch", "downsampler": "patch_merging"}
SWIN_T = PATCHES | {
    "dim": 96,
    "depths": (2, 2, 6, 2),
    "heads": (3, 6, 12, 24),
    "mlp_ratio": 4.0,
    "windows": (7, 7, 7, 7),
}
ABLATIONS: dict[str, Ablation] = {
    name: Ablation(name, does, changes)
    for name, does, changes in (
        ("table_4_swin", "Table 4: Swin-T", SWIN_T | {"blocks": ("local", "shifted")}),
        ("table_4_no_shift", "Table 4: Swin-T without shifts", SWIN_T | {"blocks": LOCAL}),
        ("table_4_reparam", "Table 4: + sizes of GC ViT-T", PATCHES | {"blocks": LOCAL}),
        ("table_4_reparam_7", "the same, windows of 7", PATCHES | {"blocks": LOCAL, "windows": (7, 7, 7, 7)}),
        ("table_4_stem", "Table 4: + our stem", {"downsampler": "patch_merging", "blocks": LOCAL}),
        ("table_4_downsampler", "Table 4: + our downsampler", {"blocks": LOCAL}),
        ("table_5_conv_pool", "Table 5: convolution, max-pooling", {"downsampler": "conv_pool"}),
        ("table_5_pool_conv", "the same, pooled first", {"downsampler": "pool_conv"}),
        ("table_5_merging", "Table 5: patch merging", {"downsampler": "patch_merging"}),
        ("table_s2_kv", "Table S.2: global KV", {"blocks": ("local", "global_kv")}),
        ("table_s2_kv_two", "the same, of two generators", {"blocks": ("local", "global_kv_two_generators")}),
        ("table_s2_kv_same", "the same, key = value", {"blocks": ("local", "global_kv_same")}),
        ("table_s2_v", "Table S.2: global V", {"blocks": ("local", "global_v")}),
        ("table_s2_v_projected", "the same, projected", {"blocks": ("local", "global_v_projected")}),
        ("open_windows_7", "all windows of 7", {"windows": (7, 7, 7, 7)}),
        ("open_global_only", "global blocks only", {"blocks": ("global", "global")}),
        ("open_no_squeeze", "no squeeze-excite", {"squeeze_excite": False}),
        ("open_query_no_convs", "queries only pooled", {"query_convolutions": False}),
        ("open_query_bilinear", "queries bilinear", {"query_resize": "bilinear"}),
        ("open_query_nearest", "queries of nearest", {"query_resize": "nearest"}),
        ("open_no_bias", "no position bias", {"position_bias": False}),
        ("open_padding", "padding attended to", {"mask_padding": False}),
    )
}


def ablation(name: str) -> Ablation:
    """Raises UserError, with the near names, when there is none."""
    if name in ABLATIONS:
        return ABLATIONS[name]
    raise UserError(f"no ablation is called {name!r}; {instead(name, ABLATIONS)}")
