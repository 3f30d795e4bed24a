"""Recipes for semantic segmentation: the built-in scenes, your own, and ADE20K as the paper has it."""

from dataclasses import replace

from gcvit.engine.settings import OptimConfig
from gcvit.tasks.recipe import Recipe, on_gpus, recipes
from gcvit.tasks.segment.config import SceneAugmentConfig, SegmentConfig
from gcvit.tasks.segment.settings import UPerNetConfig


def segment_small() -> SegmentConfig:
    return SegmentConfig(
        model="gcvit_pico",
        drop_path=0.0,
        train_images=4000,
        val_images=200,
        batch_size=8,  # many small steps, as in quickstart
        steps=6000,
        eval_every=1000,
        head=UPerNetConfig(channels=32, aux_channels=32, dropout=0.0),
        augment=SceneAugmentConfig(crop=(96, 96), scale=(1.0, 1.0), cat_max_ratio=1.0, photometric=False),
        optim=OptimConfig(
            lr=4e-3, schedule="linear", weight_decay=0.05, min_lr=0.0, warmup="100 steps", ema_decay=0.998
        ),
    )


def ade20k_tiny() -> SegmentConfig:
    return SegmentConfig(
        model="gcvit_tiny",
        pretrained=True,
        windows=(7, 7, 14, 7),
        drop_path=0.3,
        resize=(2048, 512),
        batch_size=16,
        steps=160_000,
        eval_every=16_000,
        workers=4,
        head=UPerNetConfig(),
        augment=SceneAugmentConfig(),
        optim=OptimConfig(
            lr=6e-5,
            schedule="linear",
            weight_decay=0.01,
            clip_grad=None,
            min_lr=0.0,
            warmup="1500 steps",
            warmup_lr=6e-11,  # a millionth of lr
            ema_decay=None,
        ),
    )


def ade20k_small() -> SegmentConfig:
    return replace(ade20k_tiny(), model="gcvit_small", windows=(32, 32, 32, 32))


def ade20k_base() -> SegmentConfig:
    return replace(ade20k_small(), model="gcvit_base")


STEPS = "160,000 steps of 16 crops"
RECIPES = recipes(
    Recipe(
        "segment_small",
        segment_small,
        does="Built-in scenes or yours, from scratch",
        cost="11 minutes on one core",
        text="""
        The model is the smallest one with narrow heads; expect 90% mIoU or more. For your own pictures give --data
        PATH, and --crop the height and width in pixels of crops; --scale 0.5 2 varies sizes.
        """,
    ),
    Recipe(
        "ade20k_tiny",
        ade20k_tiny,
        does="ADE20K, GC ViT-T (Table 3: 47.0 mIoU)",
        cost=f"{STEPS} (of 512 px; 34 hours on eight A40, says the paper)",
        text="""
        Give --data ADEChallengeData2016. It starts from the published ImageNet weights (non-commercial).
        """,
        commands=on_gpus("segment", "ade20k_tiny", 4),
    ),
    Recipe(
        "ade20k_small",
        ade20k_small,
        does="ADE20K, GC ViT-S (Table 3: 48.3 mIoU)",
        cost=f"{STEPS} (of 512 px)",
        text="All else as in ade20k_tiny, but for windows of 32.",
        commands=on_gpus("segment", "ade20k_small", 4),
    ),
    Recipe(
        "ade20k_base",
        ade20k_base,
        does="ADE20K, GC ViT-B (Table 3: 49.0 mIoU)",
        cost=f"{STEPS} (of 512 px)",
        text="All else as in ade20k_small.",
        commands=on_gpus("segment", "ade20k_base", 8),
    ),
)
