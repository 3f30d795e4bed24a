"""Recipes for detection: the built-in scenes, your own, and COCO as the paper has it."""

from functools import partial

from gcvit.engine.settings import OptimConfig
from gcvit.tasks.detect.config import DetectAugmentConfig, DetectConfig
from gcvit.tasks.detect.settings import HeadConfig, Kind
from gcvit.tasks.recipe import Recipe, on_gpus, recipes


def detect_small() -> DetectConfig:
    return DetectConfig(
        model="gcvit_pico",
        drop_path=0.0,
        size=128,
        batch_size=8,
        steps=1000,
        eval_every=500,
        head=HeadConfig(
            channels=64,
            hidden=256,
            norm="group",
            anchor_scale=4.0,
            anchor_samples=64,
            train_proposals=128,
            box_samples=32,
            proposals=50,
        ),
        augment=DetectAugmentConfig(short=(128,), cut=0.0),
        optim=OptimConfig(lr=1e-3, min_lr=0.0, warmup="10%", ema_decay=0.998),
    )


def coco(head: Kind, size: str, drop_path: float) -> DetectConfig:
    return DetectConfig(
        model=f"gcvit_{size}",
        pretrained=True,
        img_size=512,
        windows=(16, 16, 16, 16),
        drop_path=drop_path,
        steps=None,
        epochs=36,
        eval_every=1,
        batch_size=16,
        workers=4,
        head=HeadConfig(head),
        optim=OptimConfig(
            lr=1e-4,
            lr_batch=16,
            schedule="steps",
            milestones=("27 epochs", "33 epochs"),
            weight_decay=0.05,
            clip_grad=None,
            min_lr=0.0,
            warmup="500 steps",
            warmup_lr=1e-7,  # a thousandth of lr
            ema_decay=None,
        ),
    )


MASKS = "Give --data COCO; masks have 43.2. It starts from the published ImageNet weights (non-commercial)."
ALIKE = "All else as in coco_mask_rcnn_tiny."
UNPUBLISHED = "Its drop path was never published; it is that of classification."
# name, detector, variant, drop path, what it trains and the paper's AP, what else to say, passes on one GPU
COCO: tuple[tuple[str, Kind, str, float, str, str, int], ...] = (
    ("coco_mask_rcnn_tiny", "mask-rcnn", "tiny", 0.2, "Mask R-CNN, T (47.9 AP)", MASKS, 8),
    ("coco_cascade_tiny", "cascade", "tiny", 0.2, "Cascade, T (51.6 AP)", ALIKE, 8),
    ("coco_cascade_small", "cascade", "small", 0.3, "Cascade, S (52.4 AP)", UNPUBLISHED, 16),
    ("coco_cascade_base", "cascade", "base", 0.5, "Cascade, B (52.9 AP)", UNPUBLISHED, 16),
)
RECIPES = recipes(
    Recipe(
        "detect_small",
        detect_small,
        does="Built-in scenes or yours",
        cost="15 minutes on two cores",
        text="""
        The model is the smallest one with narrow heads, Mask R-CNN; --head cascade for the other. For your own pictures
        give --data PATH, --size and --short the short side in pixels, and weights to start from (--weights).
        """,
    ),
    *(
        Recipe(
            name,
            partial(coco, head, size, drop_path),
            does=f"COCO, {does}",
            cost="36 epochs of 117,266 images",
            text=text,
            commands=on_gpus("detect", name, passes),
        )
        for name, head, size, drop_path, does, text, passes in COCO
    ),
)
