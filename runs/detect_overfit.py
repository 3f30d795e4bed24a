"""Whether real annotations go through right: a small detector learns the few photographs it is trained on by heart.

    python runs/detect_overfit.py DATA [--out detect-overfit] [--steps 1200] [--seeds 1] [--bar 0.8] [--size 224]

DATA is a folder in COCO's format with some dozens of photographs to train on; its held-out part is not looked at. The
model is that of the recipe `detect_small`, from scratch, without flips and cuts, without moving average. It is measured
on the training photographs, as `gcvit eval` does: at their own size, with small objects and crowds. Ends with a table,
and with exit code 1 when the box AP50 of a seed stays below the bar. A run that was stopped goes on where it is started
again. Results go to OUT/results.jsonl.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

from study import run_study, tell

import gcvit
from gcvit.bench.from_scratch import Result, result_of
from gcvit.cli.output import say
from gcvit.data.coco_folders import find_coco
from gcvit.data.split_names import WHOLE
from gcvit.engine.config import as_dict
from gcvit.engine.settings import OptimConfig
from gcvit.tasks.detect import DETECT, DetectAugmentConfig, DetectConfig, HeadConfig
from gcvit.tasks.detect.recipes import detect_small
from gcvit.tasks.train import train
from gcvit.verbs import evaluate
from gcvit.wording import percent

FIGURES = ("box_ap", "box_ap50", "mask_ap", "mask_ap50")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder in COCO's format")
    parser.add_argument("--out", type=Path, default=Path("detect-overfit"))
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--bar", type=float, default=0.8)
    parser.add_argument("--size", type=int, default=224, help="short side of what the model sees, in pixels")
    options = parser.parse_args()
    config = settings(options.data, options.steps, options.size)
    results = run_study(
        options.out,
        ["mask-rcnn"],
        options.seeds,
        as_dict(config),
        lambda arm, seed: run(replace(config, seed=seed), options.out / f"seed-{seed}"),
    )["mask-rcnn"]
    rows = [
        [
            str(seed),
            *(percent(found.figures[name]) for name in FIGURES),
            f"{found.seconds / 60:.1f}",
            f"{found.figures['cpu_seconds'] / 60:.1f}",
        ]
        for seed, found in enumerate(results)
    ]
    tell(["seed", ">box AP", ">box AP50", ">mask AP", ">mask AP50", ">minutes of training", ">CPU minutes"], rows)
    if min(found.figures["box_ap50"] for found in results) < options.bar:
        say(f"\nbelow the bar of {percent(options.bar)} box AP50")
        sys.exit(1)


def settings(data: str, steps: int, size: int) -> DetectConfig:
    """One run; few large boxes are drawn, since the photographs come again and again."""
    return replace(
        detect_small(),
        data=data,
        size=size,
        long=2 * size,
        batch_size=4,
        steps=steps,
        eval_every=steps,
        head=HeadConfig(
            channels=32,
            hidden=512,
            anchor_scale=4.0,
            anchor_samples=128,
            train_proposals=256,
            box_samples=64,
            proposals=300,
        ),
        augment=DetectAugmentConfig(short=(size,), hflip=0.0, cut=0.0),
        optim=OptimConfig(
            lr=1e-3, schedule="cosine", weight_decay=0.0, min_lr=0.0, clip_grad=5.0, warmup="5%", ema_decay=None
        ),
    )


def run(config: DetectConfig, folder: Path) -> Result:
    """One whole training run in a folder of its own, where a stopped one goes on, measured on what it has learned."""
    assert config.data is not None
    layout, start = find_coco(config.data), time.process_time()
    found = train(DETECT, config, folder, name="detect_overfit")
    measured = evaluate(gcvit.open(found.last), layout.parts[layout.training or WHOLE], val_fraction=None, device="cpu")
    result = result_of(DETECT, measured.evaluation.metrics, found.seconds, folder / "log.jsonl")
    return replace(result, figures=result.figures | {"cpu_seconds": time.process_time() - start})


if __name__ == "__main__":
    main()
