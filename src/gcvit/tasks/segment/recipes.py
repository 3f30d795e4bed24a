"""Recipes for semantic segmentation: the built-in scenes, your own, and ADE20K as the paper has it."""

from functools import partial

from gcvit.engine.settings import OptimConfig
from gcvit.tasks.config import Four
from gcvit.tasks.recipe import Recipe, on_gpus, recipes
from gcvit.tasks.segment.config import SceneAugmentConfig, SegmentConfig
from gcvit.tasks.segment.settings import UPerNetConfig


def segment_small() -> SegmentConfig:
    return SegmentConfig(
        model="gcvit_pico",
        drop_path=0.0,
        train_images=4000,
        batch_size=8,  # many small steps, as in quickstart
        steps=6000,
        eval_every=1000,
        head=UPerNetConfig(channels=32, aux_channels=32, dropout=0.0),
        augment=SceneAugmentConfig(crop=(96, 96), scale=(1.0, 1.0), cat_max_ratio=1.0, photometric=False),
        optim=OptimConfig(lr=4e-3, schedule="linear", min_lr=0.0, warmup="100 steps", ema_decay=0.998),
    )


def ade20k(size: str, windows: Four) -> SegmentConfig:
    return SegmentConfig(
        model=f"gcvit_{size}",
        pretrained=True,
        windows=windows,
        drop_path=0.3,
        resize=(2048, 512),
        batch_size=16,
        steps=160_000,
        eval_every=16_000,
        workers=4,
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


START = "Give --data ADEChallengeData2016. It starts from the published ImageNet weights (non-commercial)."
LARGE = (32, 32, 32, 32)
# variant, windows, the paper's mIoU, what is known of its cost, what else to say, passes on one GPU
ADE20K: tuple[tuple[str, Four, str, str, str, int], ...] = (
    ("tiny", (7, 7, 14, 7), "T (Table 3: 47.0 mIoU)", "; 34 hours on eight A40, says the paper", START, 4),
    ("small", LARGE, "S (Table 3: 48.3 mIoU)", "", "All else as in ade20k_tiny, but for windows of 32.", 4),
    ("base", LARGE, "B (Table 3: 49.0 mIoU)", "", "All else as in ade20k_small.", 8),
)
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
    *(
        Recipe(
            f"ade20k_{size}",
            partial(ade20k, size, windows),
            does=f"ADE20K, GC ViT-{does}",
            cost=f"160,000 steps of 16 crops (of 512 px{hours})",
            text=text,
            commands=on_gpus("segment", f"ade20k_{size}", passes),
        )
        for size, windows, does, hours, text, passes in ADE20K
    ),
)
