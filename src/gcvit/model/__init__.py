"""The paper: the model and nothing else. It knows no files, devices or ranks."""

from gcvit.model.config import GCViTConfig
from gcvit.model.gcvit import GCViT, Trace
from gcvit.model.variants import VARIANTS

__all__ = ["VARIANTS", "GCViT", "GCViTConfig", "Trace"]
