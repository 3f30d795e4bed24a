"""The smallest classification run that has everything on: mixing, erasing, a moving average, accumulation."""

from gcvit.engine.optim import OptimConfig
from gcvit.tasks.classify import AugmentConfig, ClassifyConfig

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
