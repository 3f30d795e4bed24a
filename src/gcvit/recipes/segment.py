"""Recipes for semantic segmentation: the built-in scenes, your own, and ADE20K as the paper has it."""

from dataclasses import replace

from gcvit.engine.optim import OptimConfig
from gcvit.tasks.segment.config import SceneAugmentConfig, SegmentConfig, UPerNetConfig


def segment_small() -> SegmentConfig:
    """The built-in scenes, or yours, from scratch.

    Cost: 11 minutes on one core. The model is the smallest one with narrow heads; expect 90% mIoU or more. For your
    own pictures give --data PATH, and --crop the height and width in pixels of crops; --scale 0.5 2 varies sizes.
    """
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
        optim=OptimConfig(lr=4e-3, schedule="linear", weight_decay=0.05, min_lr=0.0, warmup_steps=100, ema_decay=0.998),
    )


def ade20k_tiny() -> SegmentConfig:
    """ADE20K with GC ViT-T (47.0 mIoU in Table 3).

    Cost: 160,000 steps of 16 crops of 512 px (34 hours on eight A40, says the paper). Give --data ADEChallengeData2016.
    It starts from the published ImageNet weights (non-commercial).
    One GPU: gcvit train segment ade20k_tiny --data PATH --accumulate 4
    One node: torchrun --nproc-per-node 8 -m gcvit train segment ade20k_tiny --data PATH
    Many nodes: TASK=segment sbatch --nodes 2 examples/slurm.sbatch ade20k_tiny --data PATH
    """
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
            warmup_steps=1500,
            warmup_lr=6e-11,  # a millionth of lr
            ema_decay=None,
        ),
    )


def ade20k_small() -> SegmentConfig:
    """ADE20K with GC ViT-S (48.3 mIoU in Table 3).

    Cost: 160,000 steps of 16 crops of 512 px. All else as in ade20k_tiny, but for windows of 32.
    One GPU: gcvit train segment ade20k_small --data PATH --accumulate 4
    One node: torchrun --nproc-per-node 8 -m gcvit train segment ade20k_small --data PATH
    Many nodes: TASK=segment sbatch --nodes 2 examples/slurm.sbatch ade20k_small --data PATH
    """
    return replace(ade20k_tiny(), model="gcvit_small", windows=(32, 32, 32, 32))


def ade20k_base() -> SegmentConfig:
    """ADE20K with GC ViT-B (49.0 mIoU in Table 3).

    Cost: 160,000 steps of 16 crops of 512 px. All else as in ade20k_small.
    One GPU: gcvit train segment ade20k_base --data PATH --accumulate 8
    One node: torchrun --nproc-per-node 8 -m gcvit train segment ade20k_base --data PATH
    Many nodes: TASK=segment sbatch --nodes 2 examples/slurm.sbatch ade20k_base --data PATH
    """
    return replace(ade20k_small(), model="gcvit_base")
