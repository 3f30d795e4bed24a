"""Models as timm builds them, on weights that matter."""

import timm
import torch

import gcvit.timm_models  # noqa: F401  importing it registers the names
from laws.weights import meaningful_weights


def created(name="gc_vit_pico", seed=0, **words):
    """`timm.create_model`, in eval mode, on weights that depend on the seed and their names alone."""
    model = timm.create_model(name, **{"num_classes": 7} | words)
    return meaningful_weights(model, seed).eval()


def random_images(count=2, height=64, width=64, channels=3):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, channels, height, width, generator=generator)
