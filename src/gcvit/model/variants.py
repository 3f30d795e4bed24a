"""One row per published model (paper, Table S.1; the numbers that the published weights have), and two small ones."""

from dataclasses import fields, replace

from gcvit.model.config import GCViTConfig

XXTINY = GCViTConfig(dim=64, depths=(2, 2, 6, 2), heads=(2, 4, 8, 16), mlp_ratio=3.0, drop_path=0.2)
XTINY = replace(XXTINY, depths=(3, 4, 6, 5))
TINY = replace(XXTINY, depths=(3, 4, 19, 5))
SMALL = GCViTConfig(dim=96, depths=(3, 4, 19, 5), heads=(3, 6, 12, 24), mlp_ratio=2.0, layer_scale=1e-5, drop_path=0.3)
BASE = replace(SMALL, dim=128, heads=(4, 8, 16, 32), drop_path=0.5)
LARGE = replace(SMALL, dim=192, heads=(6, 12, 24, 48), drop_path=0.5)

VARIANTS: dict[str, GCViTConfig] = {
    "gcvit_xxtiny": XXTINY,
    "gcvit_xtiny": XTINY,
    "gcvit_tiny": TINY,
    "gcvit_tiny2": replace(TINY, depths=(3, 4, 29, 5), drop_path=0.25),
    "gcvit_small": SMALL,
    "gcvit_small2": replace(SMALL, depths=(3, 4, 23, 5), mlp_ratio=3.0, drop_path=0.35),
    "gcvit_base": BASE,
    "gcvit_large": LARGE,
    "gcvit_large_21k": LARGE,
    "gcvit_large_384_21k": replace(LARGE, img_size=(384, 384), drop_path=0.1),
    "gcvit_large_512_21k": replace(LARGE, img_size=(512, 512), drop_path=0.1),
    # Not in the paper: for small images on a laptop, and for tests.
    "gcvit_nano": GCViTConfig(
        dim=32, depths=(2, 2, 6, 2), heads=(1, 2, 4, 8), mlp_ratio=2.0, drop_path=0.05, img_size=(64, 64)
    ),
    "gcvit_pico": GCViTConfig(
        dim=16, depths=(2, 2, 2, 2), heads=(1, 2, 2, 4), mlp_ratio=2.0, drop_path=0.0, img_size=(64, 64)
    ),
}


def nearest_variant(config: GCViTConfig) -> tuple[str, dict[str, object]]:
    """(name, overrides) such that `replace(VARIANTS[name], **overrides) == config`, with the fewest overrides."""

    def overrides(name: str) -> dict[str, object]:
        row = VARIANTS[name]
        return {
            f.name: getattr(config, f.name) for f in fields(config) if getattr(config, f.name) != getattr(row, f.name)
        }

    name = min(VARIANTS, key=lambda name: len(overrides(name)))
    return name, overrides(name)
