"""From scratch on street scenes: UPerNet on a small GC ViT, on timm's Swin, and segmentation_models_pytorch's UPerNet
on a ResNet, at one cost.

    python runs/compare_camvid.py DATA [--steps 500] [--seeds 3] [--out compare-camvid] [--arms gcvit swin resnet]

All have one budget: the same crops in the same order, the same steps, schedule and optimiser, batch norm, no stochastic
depth. Their multiply-accumulates at the crop's size are within 10% of each other, counted alike. GC ViT and Swin have
our heads, with the auxiliary one in training; segmentation_models_pytorch's has none. Held out is DATA's validation
part; each model is evaluated once, after the last step, so nothing is chosen on it. Each run's curve goes to
OUT/ARM-SEED.jsonl, its result to OUT/results.jsonl; a study that was stopped goes on where it is started again.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from study import costs, print_results, run_study, train_from_scratch
from torch import nn

import gcvit
from gcvit.bench.segment_peers import SmpSegmenter
from gcvit.bench.swin import SwinSegmenter, swin
from gcvit.data.label_maps import LabelReading
from gcvit.engine.config import as_dict
from gcvit.engine.optim import OptimConfig
from gcvit.tasks.segment import SEGMENT, SceneAugmentConfig, SegmentConfig, UPerNetConfig
from gcvit.tasks.segment.segmenter import Segmenter

CROP = (192, 256)  # pixels
HEAD = UPerNetConfig(channels=48, aux_channels=32)


def gc_vit(classes: int) -> nn.Module:
    """16 to 128 channels, two blocks per stage."""
    return Segmenter(gcvit.create_model("gcvit_pico", img_size=CROP, head=False, drop_path=0.0), classes, HEAD)


def swin_upernet(classes: int) -> nn.Module:
    """As deep and wide as ours, with attention heads of 16 channels and the windows of Swin-T."""
    return SwinSegmenter(swin(16, (2, 2, 2, 2), (1, 2, 4, 8), drop_path=0.0), classes, HEAD)


def resnet_upernet(classes: int) -> nn.Module:
    """A ResNet-18 of a quarter of the width, in segmentation_models_pytorch; 36 channels in its decoder."""
    width = {"channels": (16, 32, 64, 128), "stem_width": 16}
    return SmpSegmenter("tu-resnet18", classes, channels=36, encoder_settings=width)


ARMS = {"gcvit": gc_vit, "swin": swin_upernet, "resnet": resnet_upernet}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder with images/training, annotations/training, and the same with validation")
    parser.add_argument("--ignore-label", type=int, default=11)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("compare-camvid"))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--workers", type=int, default=0, help="processes that load images")
    options = parser.parse_args()
    config = SegmentConfig(
        data=options.data,
        reading=LabelReading(ignore_label=options.ignore_label),
        resize=(256, 192),
        steps=options.steps,
        eval_every=options.steps,
        batch_size=8,
        device=options.device,
        workers=options.workers,
        head=HEAD,
        augment=SceneAugmentConfig(crop=CROP, scale=(0.75, 1.75)),
        optim=OptimConfig(lr=2e-3, schedule="linear", weight_decay=0.05, warmup="50 steps", min_lr=0.0, ema_decay=0.99),
    )
    classes = len(SEGMENT.open_data(config).classes)
    columns = costs({arm: ARMS[arm](classes) for arm in options.arms}, gc_vit(classes), CROP)
    results = run_study(
        options.out,
        options.arms,
        options.seeds,
        as_dict(replace(config, workers=0)),  # workers do not change the results
        lambda arm, seed: train_from_scratch(
            SEGMENT, replace(config, seed=seed), ARMS[arm], options.out / f"{arm}-{seed}.jsonl"
        ),
    )
    print_results(results, columns, score="mIoU")


if __name__ == "__main__":
    main()
