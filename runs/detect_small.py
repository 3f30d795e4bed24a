"""Whether the small recipe learns to detect: both heads on the built-in scenes, each beside its bars.

    python runs/detect_small.py [--out detect-small] [--heads mask-rcnn cascade] [--steps N] [--seeds 1]
        [--scenes 500] [--box-bar 0.9] [--mask-bar 0.85]

Trains on the CPU with the recipe `detect_small`, and measures what stands after the last step on 500 scenes that the
run never saw. Ends with a table, and with exit code 1 when box AP50 or mask AP50 of a run stays below its bar, or its
training takes longer than half an hour. A run that was stopped goes on where it is started again (then its time counts
from there). Results go to OUT/results.jsonl.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import cast

from study import run_study, tell

import gcvit
from gcvit.bench.from_scratch import Result, result_of
from gcvit.cli.output import say
from gcvit.data.scenes import ObjectScenes
from gcvit.engine.config import as_dict
from gcvit.tasks.detect import DETECT, DetectConfig
from gcvit.tasks.detect.recipes import detect_small
from gcvit.tasks.detect.settings import Kind
from gcvit.tasks.evaluate import evaluate
from gcvit.tasks.task import HeldOut
from gcvit.tasks.train import train
from gcvit.wording import percent

HEADS = ("mask-rcnn", "cascade")
FIGURES = {"box_ap": ">box AP", "box_ap50": ">box AP50", "mask_ap": ">mask AP", "mask_ap50": ">mask AP50"}
MINUTES = 30.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("detect-small"))
    parser.add_argument("--heads", nargs="+", choices=HEADS, default=list(HEADS))
    parser.add_argument("--steps", type=int, default=detect_small().steps)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--scenes", type=int, default=500, help="unseen scenes to measure on")
    parser.add_argument("--box-bar", type=float, default=0.9)
    parser.add_argument("--mask-bar", type=float, default=0.85)
    options = parser.parse_args()
    recipe = detect_small()
    watched = min(50, options.scenes)  # during training; nothing is chosen on them
    config = replace(recipe, steps=options.steps, eval_every=options.steps, val_images=watched, device="cpu")

    def run(head: str, seed: int) -> Result:
        changed = replace(config, seed=seed, head=replace(config.head, head=cast(Kind, head)))
        return _run(changed, options.out / f"{head}-{seed}", options.scenes)

    results = run_study(options.out, options.heads, options.seeds, as_dict(config) | {"scenes": options.scenes}, run)
    rows, fallen = [], []
    for head, runs in results.items():
        for seed, found in enumerate(runs):
            minutes, figures = found.seconds / 60, found.figures
            said = [*(percent(figures[name]) for name in FIGURES), f"{minutes:.1f}", f"{figures['cpu_minutes']:.1f}"]
            rows.append([head, str(seed), *said])
            if figures["box_ap50"] < options.box_bar or figures["mask_ap50"] < options.mask_bar or minutes > MINUTES:
                fallen.append(f"{head}, seed {seed}")
    tell(["heads", "seed", *FIGURES.values(), ">minutes of training", ">CPU minutes, all"], rows)
    bars = f"box AP50 {percent(options.box_bar)}, mask AP50 {percent(options.mask_bar)}, {MINUTES:g} minutes"
    say(f"\nbars: {bars}; {'missed by ' if fallen else 'all hold'}{'; '.join(fallen)}")
    sys.exit(1 if fallen else 0)


def _run(config: DetectConfig, folder: Path, scenes: int) -> Result:
    start = time.process_time()
    found = train(DETECT, config, folder, name="detect_small")
    unseen = HeldOut(ObjectScenes("test", scenes, config.scene_size), "unseen scenes")
    metrics = evaluate(gcvit.open(found.last), unseen, device="cpu").evaluation.metrics
    result = result_of(DETECT, metrics, found.seconds, folder / "log.jsonl")
    return replace(result, figures=result.figures | {"cpu_minutes": (time.process_time() - start) / 60})


if __name__ == "__main__":
    main()
