"""The smallest runs that have everything on: mixing or varied crops, a moving average, accumulation."""

from pathlib import Path

import pytest

from gcvit.engine.settings import OptimConfig
from gcvit.tasks.classify import CLASSIFY, AugmentConfig, ClassifyConfig
from gcvit.tasks.detect import DETECT, DetectAugmentConfig, DetectConfig, HeadConfig
from gcvit.tasks.segment import SEGMENT
from gcvit.tasks.segment.config import SceneAugmentConfig, SegmentConfig
from gcvit.tasks.segment.settings import UPerNetConfig

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
    optim=OptimConfig(lr=1e-3, schedule="linear", warmup="2 steps", ema_decay=0.9),
)

TINY_OBJECTS = DetectConfig(
    model="gcvit_pico",
    drop_path=0.1,
    train_images=7,
    val_images=3,
    steps=5,
    eval_every=2,
    batch_size=4,
    accumulate=2,
    device="cpu",
    seed=3,
    scene_size=64,
    size=64,
    long=96,
    head=HeadConfig(
        channels=8,
        hidden=16,
        anchor_scale=4.0,
        anchor_samples=16,
        train_proposals=16,
        box_samples=16,
        proposals=8,
        norm="group",
        min_score=0.01,
    ),
    augment=DetectAugmentConfig(short=(48, 64), before=(48, 64), sides=(40, 56)),
    optim=OptimConfig(lr=1e-3, schedule="steps", min_lr=0.0, warmup="2 steps", ema_decay=0.9),
)

TASKS = {"classify": (CLASSIFY, TINY), "segment": (SEGMENT, TINY_SCENES), "detect": (DETECT, TINY_OBJECTS)}


def empty_report(folder: Path, *_: object) -> dict[str, Path]:
    """In the place of `save_outputs`, which takes most of a tiny run's time."""
    (folder / "report.html").touch()
    return {"report": folder / "report.html"}


every_task = pytest.mark.parametrize(("task", "tiny"), TASKS.values(), ids=TASKS)
