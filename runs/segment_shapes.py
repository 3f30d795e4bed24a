"""Whether the small recipe learns: train it on the built-in scenes, and compare mIoU on held-out scenes with a bar.

    python runs/segment_shapes.py [--out segment-shapes] [--bar 0.9] [--seeds 1]

Ends with a table, and with exit code 1 when a seed stays below the bar. Held-out scenes come from other seeds
than those to train on; the best of the run's evaluations counts, measured once more on 1,000 scenes that the run never
saw.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import gcvit
from gcvit.cli.output import say, table
from gcvit.data.scenes import ShapeScenes
from gcvit.tasks.evaluate import evaluate
from gcvit.tasks.segment import SEGMENT
from gcvit.tasks.segment.recipes import segment_small
from gcvit.tasks.task import HeldOut
from gcvit.tasks.train import train
from gcvit.wording import percent

SCENES = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("segment-shapes"))
    parser.add_argument("--bar", type=float, default=0.9)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    rows, reached = [], []
    for seed in range(options.seeds):
        config = replace(segment_small(), seed=seed)
        found = train(SEGMENT, config, options.out / f"seed-{seed}", name="segment_small")
        unseen = HeldOut(ShapeScenes("test", SCENES, config.augment.crop), "unseen scenes", None)
        metrics = evaluate(gcvit.open(found.best), unseen, device="cpu").evaluation.metrics
        reached.append(metrics["miou"] or 0.0)
        rows.append(
            [
                str(seed),
                percent(found.evaluation.metrics["miou"]),
                percent(metrics["miou"]),
                percent(metrics["boundary_iou"]),
                f"{found.best_at:,}",
                f"{found.seconds:.0f}",
            ]
        )
    held_out = f">{SCENES:,} unseen scenes"
    table(["seed", ">mIoU, held out", held_out, ">boundary IoU", ">best step", ">seconds of training"], rows)
    if min(reached) < options.bar:
        say(f"\nbelow the bar of {percent(options.bar)}")
        sys.exit(1)


if __name__ == "__main__":
    main()
