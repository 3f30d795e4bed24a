"""Recipes for detection: the built-in scenes, your own, and COCO as the paper has it."""

from dataclasses import replace

from gcvit.engine.settings import OptimConfig
from gcvit.tasks.detect.config import DetectAugmentConfig, DetectConfig
from gcvit.tasks.detect.settings import HeadConfig
from gcvit.tasks.recipe import Recipe, on_gpus, recipes


def detect_small() -> DetectConfig:
    return DetectConfig(
        model="gcvit_pico",
        drop_path=0.0,
        train_images=2000,
        val_images=200,
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
        optim=OptimConfig(
            lr=1e-3,
            schedule="cosine",
            weight_decay=0.05,
            min_lr=0.0,
            clip_grad=5.0,
            warmup="10%",
            ema_decay=0.998,
        ),
    )


def coco_mask_rcnn_tiny() -> DetectConfig:
    return DetectConfig(
        model="gcvit_tiny",
        pretrained=True,
        img_size=512,
        windows=(16, 16, 16, 16),
        drop_path=0.2,
        steps=None,
        epochs=36,
        eval_every=1,
        batch_size=16,
        workers=4,
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


def coco_cascade_tiny() -> DetectConfig:
    return replace(coco_mask_rcnn_tiny(), head=HeadConfig(head="cascade"))


def coco_cascade_small() -> DetectConfig:
    return replace(coco_cascade_tiny(), model="gcvit_small", drop_path=0.3)


def coco_cascade_base() -> DetectConfig:
    return replace(coco_cascade_tiny(), model="gcvit_base", drop_path=0.5)


EPOCHS = "36 epochs of 117,266 images"
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
    Recipe(
        "coco_mask_rcnn_tiny",
        coco_mask_rcnn_tiny,
        does="COCO, Mask R-CNN, T (47.9 AP)",
        cost=EPOCHS,
        text="Give --data COCO; masks have 43.2. It starts from the published ImageNet weights (non-commercial).",
        commands=on_gpus("detect", "coco_mask_rcnn_tiny", 8),
    ),
    Recipe(
        "coco_cascade_tiny",
        coco_cascade_tiny,
        does="COCO, Cascade, T (51.6 AP)",
        cost=EPOCHS,
        text="All else as in coco_mask_rcnn_tiny.",
        commands=on_gpus("detect", "coco_cascade_tiny", 8),
    ),
    Recipe(
        "coco_cascade_small",
        coco_cascade_small,
        does="COCO, Cascade, S (52.4 AP)",
        cost=EPOCHS,
        text="Its drop path was never published; it is that of classification.",
        commands=on_gpus("detect", "coco_cascade_small", 16),
    ),
    Recipe(
        "coco_cascade_base",
        coco_cascade_base,
        does="COCO, Cascade, B (52.9 AP)",
        cost=EPOCHS,
        text="Its drop path was never published; it is that of classification.",
        commands=on_gpus("detect", "coco_cascade_base", 16),
    ),
)
