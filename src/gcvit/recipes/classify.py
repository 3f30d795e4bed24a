"""Recipes for classification."""

from gcvit.engine.optim import OptimConfig
from gcvit.tasks.classify import AugmentConfig, ClassifyConfig


def quickstart() -> ClassifyConfig:
    """The built-in shapes at 64 px with the smallest model (0.5 M parameters).

    Cost: about 3 minutes on two CPU cores. Expect 97% top-1 or more on 1,000 held-out images.
    """
    return ClassifyConfig(
        model="gcvit_pico",
        train_images=8000,
        val_images=1000,
        crop_pct=1.0,
        epochs=8,
        batch_size=32,  # many small steps: the model first needs to find out what an edge is
        optim=OptimConfig(lr=2e-3, warmup_epochs=0.2, ema_decay=0.999),
        augment=AugmentConfig(
            scale=(1.0, 1.0), ratio=(1.0, 1.0), color_jitter=0.0, interpolation="bilinear", label_smoothing=0.0
        ),
    )


def small_images() -> ClassifyConfig:
    """Class folders of small photographs (about 32 to 100 px), from scratch at 64 px: give `data`.

    Cost: 15 minutes on two CPU cores for the 16,000 images of 32 px that it was measured on (see docs/results.md);
    expect 61% top-1 of ten classes there. For a few hundred images start from a
    checkpoint instead (`weights`).
    """
    return ClassifyConfig(
        model="gcvit_pico",
        img_size=64,
        crop_pct=1.0,
        epochs=14,
        batch_size=32,
        eval_every=2,
        optim=OptimConfig(lr=2e-3, warmup_epochs=0.5, ema_decay=0.999),
        augment=AugmentConfig(scale=(0.5, 1.0), color_jitter=0.0, interpolation="bilinear", label_smoothing=0.1),
    )
