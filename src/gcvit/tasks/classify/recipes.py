"""Recipes for classification: the built-in shapes, your own images from scratch, fine-tuning, and ImageNet."""

from gcvit.engine.settings import OptimConfig
from gcvit.tasks.classify.config import AugmentConfig, ClassifyConfig
from gcvit.tasks.classify.imagenet import IMAGENET
from gcvit.tasks.recipe import Recipe, recipes


def quickstart() -> ClassifyConfig:
    return ClassifyConfig(
        model="gcvit_pico",
        train_images=8000,
        val_images=1000,
        crop_pct=1.0,
        epochs=8,
        batch_size=32,  # many small steps: the model first needs to find out what an edge is
        optim=OptimConfig(lr=2e-3, warmup="0.2 epochs", ema_decay=0.999),
        augment=AugmentConfig(
            scale=(1.0, 1.0), ratio=(1.0, 1.0), color_jitter=0.0, interpolation="bilinear", label_smoothing=0.0
        ),
    )


def small_images() -> ClassifyConfig:
    return ClassifyConfig(
        model="gcvit_pico",
        img_size=64,
        crop_pct=1.0,
        epochs=14,
        batch_size=32,
        eval_every=2,
        optim=OptimConfig(lr=2e-3, warmup="0.5 epochs", ema_decay=0.999),
        augment=AugmentConfig(scale=(0.5, 1.0), color_jitter=0.0, interpolation="bilinear", label_smoothing=0.1),
    )


def finetune() -> ClassifyConfig:
    return ClassifyConfig(
        model="auto",
        weights="gcvit_tiny",
        crop_pct=1.0,
        epochs=10,
        batch_size=64,
        workers=4,
        optim=OptimConfig(lr=3e-4, lr_batch=64, layer_decay=0.9, warmup="1 epoch", min_lr=1e-6, ema_decay=0.999),
        augment=AugmentConfig(),  # light
    )


RECIPES = recipes(
    Recipe(
        "quickstart",
        quickstart,
        does="The built-in shapes at 64 px",
        cost="3 minutes on two cores",
        text="The model is the smallest one (0.5 M parameters); expect 97% top-1 or more on 1,000 held-out images.",
    ),
    Recipe(
        "small_images",
        small_images,
        does="Your small photographs at 64 px",
        cost="15 minutes on two cores (for the 16,000 images of 32 px that it was measured on, see docs/results.md)",
        text="Expect 61% top-1 of ten classes there. For a few hundred images take `finetune` instead.",
    ),
    Recipe(
        "finetune",
        finetune,
        does="Your images, from a checkpoint",
        cost="10 epochs, your images (40 A100-seconds for each 1,000 of them, at the speed of the paper's runs)",
        text="""
        The checkpoint is the published GC ViT-T (non-commercial) or any other, given as --weights. The model and its
        image size are the checkpoint's. `--img-size` trains at another one, with windows and position tables resized;
        `--freeze-stages 3` trains the last stage alone, which is cheaper and enough for few images;
        `--layer-decay none` gives every layer the full learning rate; `--class-weights balanced` is for unbalanced
        data.
        """,
        commands=(
            ("One GPU", "gcvit train classify finetune --data PATH --weights gcvit-runs/small_images-001"),
            (
                "One node",
                "torchrun --nproc-per-node 8 -m gcvit train classify finetune --data PATH --batch-size 512",
            ),
            ("Many nodes", "sbatch --nodes 4 examples/slurm.sbatch finetune --data PATH --batch-size 2048"),
        ),
    ),
    *IMAGENET,
)
