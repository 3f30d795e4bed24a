"""GC ViT, Global Context Vision Transformers: the public surface."""

from gcvit import timm_models  # noqa: F401  registers gc_vit_* with timm
from gcvit.factory import create_model, list_models
from gcvit.model import GCViT, GCViTConfig, Trace
from gcvit.weights import LoadReport, load_weights

__all__ = ["GCViT", "GCViTConfig", "LoadReport", "Trace", "create_model", "list_models", "load_weights"]
__version__ = "0.1.0"
