"""The paper: the model and nothing else. It knows no files, devices or ranks."""

from typing import TYPE_CHECKING

from gcvit.on_demand import shown_on_demand

if TYPE_CHECKING:
    from gcvit.model.config import GCViTConfig
    from gcvit.model.gcvit import GCViT, Trace
    from gcvit.model.variants import VARIANTS

__all__ = ["VARIANTS", "GCViT", "GCViTConfig", "Trace"]

if not TYPE_CHECKING:
    _SHOWN = {"config": ("GCViTConfig",), "gcvit": ("GCViT", "Trace"), "variants": ("VARIANTS",)}
    __getattr__, __dir__ = shown_on_demand(__name__, _SHOWN)
