"""The smallest runs that have everything on: mixing or varied crops, a moving average, accumulation."""

from gcvit.engine.optim import OptimConfig
from gcvit.tasks.classify import AugmentConfig, ClassifyConfig
from gcvit.tasks.segment.config import SceneAugmentConfig, SegmentConfig, UPerNetConfig

TINY = ClassifyConfig(
    model="gcvit_pico",
    img_size=32,
    drop_path=0.1,
    train_images=48,
    val_images=30,
    crop_pct=1.0,
    epochs=2,
    batch_size=16,
    accumulate=2,
    device="cpu",
    seed=3,
    optim=OptimConfig(lr=1e-3, ema_decay=0.9),
    augment=AugmentConfig(mixup=0.5, cutmix=0.5, random_erasing=0.3, rand_augment="rand-m5-mstd0.5"),
)

TINY_SCENES = SegmentConfig(
    model="gcvit_pico",
    drop_path=0.1,
    train_images=7,  # a pass ends inside an update
    val_images=3,
    steps=5,
    eval_every=2,  # the last stretch is shorter
    batch_size=4,
    accumulate=2,
    device="cpu",
    seed=3,
    head=UPerNetConfig(channels=8, aux_channels=8),
    augment=SceneAugmentConfig(crop=(48, 64)),
    optim=OptimConfig(lr=1e-3, schedule="linear", warmup_steps=2, ema_decay=0.9),
)
