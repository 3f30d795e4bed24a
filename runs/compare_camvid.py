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
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from study import Result, costs, print_results, run_study, take_steps, training_speed
from torch import nn

import gcvit
from gcvit.bench.segment_peers import SmpSegmenter, SwinSegmenter, swin
from gcvit.engine.config import as_dict
from gcvit.engine.device import resolve_device
from gcvit.engine.log import RunLog
from gcvit.engine.loop import seed_everything
from gcvit.engine.optim import OptimConfig
from gcvit.engine.state import State
from gcvit.tasks.segment.config import SceneAugmentConfig, SegmentConfig, UPerNetConfig
from gcvit.tasks.segment.data import open_scenes, training_loader
from gcvit.tasks.segment.evaluate import Evaluator
from gcvit.tasks.segment.plan import make_plan
from gcvit.tasks.segment.saving import ScenePreprocessing
from gcvit.tasks.segment.segmenter import Segmenter
from gcvit.tasks.segment.task import SegmentTask

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
        ignore_label=options.ignore_label,
        resize=(256, 192),
        steps=options.steps,
        eval_every=options.steps,
        batch_size=8,
        device=options.device,
        workers=options.workers,
        head=HEAD,
        augment=SceneAugmentConfig(crop=CROP, scale=(0.75, 1.75)),
        optim=OptimConfig(lr=2e-3, schedule="linear", weight_decay=0.05, warmup_steps=50, min_lr=0.0, ema_decay=0.99),
    )
    classes = len(open_scenes(config).classes)
    columns = costs({arm: ARMS[arm](classes) for arm in options.arms}, gc_vit(classes), CROP)
    results = run_study(
        options.out,
        options.arms,
        options.seeds,
        as_dict(replace(config, workers=0)),  # workers do not change the results
        lambda arm, seed: train(arm, replace(config, seed=seed), options.out / f"{arm}-{seed}.jsonl"),
    )
    print_results(results, columns, score="mIoU")


def train(arm: str, config: SegmentConfig, log_path: Path) -> Result:
    """Train one model from scratch and evaluate the moving average of its weights after the last step."""
    start = time.perf_counter()
    scenes = open_scenes(config)
    plan = make_plan(config, resolve_device(config.device))
    preprocessing = ScenePreprocessing(config.resize, config.augment.crop)
    task = SegmentTask(
        training_loader(scenes.train, config, preprocessing, plan),
        Evaluator(scenes.held_out, preprocessing, workers=config.workers),
        scenes,
        preprocessing,
        plan,
        config.head.aux_weight,
    )
    seed_everything(config.seed)
    state = State(ARMS[arm](len(scenes.classes)).to(plan.device), config.optim)
    log_path.unlink(missing_ok=True)  # of a run that was stopped
    with RunLog(log_path, epochs=None, steps=plan.steps) as log, closing(task):
        take_steps(state, task, plan, log)
        result = task.measure(state.result)
        log.evaluation(1, result.metrics, step=plan.steps, best=True, seconds=result.seconds)
    return Result(result.counts.miou, result.loss, time.perf_counter() - start, training_speed(log_path))


if __name__ == "__main__":
    main()
