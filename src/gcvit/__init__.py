"""GC ViT, Global Context Vision Transformers: the public surface. Each part is loaded when it is first asked for."""

from importlib import import_module
from typing import TYPE_CHECKING

from wrapt import register_post_import_hook

from gcvit.on_demand import shown_on_demand

if TYPE_CHECKING:
    from gcvit import errors as errors
    from gcvit import factory as factory
    from gcvit import model as model
    from gcvit import opening as opening
    from gcvit import timm_models as timm_models
    from gcvit import verbs as verbs
    from gcvit import weights as weights
    from gcvit.errors import UserError
    from gcvit.factory import create_model, list_models
    from gcvit.model import GCViT, GCViTConfig, Trace
    from gcvit.opening import open
    from gcvit.verbs import evaluate, export_model, train
    from gcvit.weights import LoadReport, load_weights

__all__ = [
    "GCViT",
    "GCViTConfig",
    "LoadReport",
    "Trace",
    "UserError",
    "create_model",
    "evaluate",
    "export_model",
    "list_models",
    "load_weights",
    "open",
    "train",
]
__version__ = "0.1.0"

_ROOMS = {
    "errors": ("UserError",),
    "factory": ("create_model", "list_models"),
    "model": ("GCViT", "GCViTConfig", "Trace"),
    "opening": ("open",),
    "timm_models": (),
    "verbs": ("evaluate", "export_model", "train"),
    "weights": ("LoadReport", "load_weights"),
}

# Whoever uses timm finds gc_vit_* there, whether it was imported before or is imported later.
register_post_import_hook(lambda timm: import_module("gcvit.timm_models"), "timm")

if not TYPE_CHECKING:
    __getattr__, __dir__ = shown_on_demand(__name__, _ROOMS)
