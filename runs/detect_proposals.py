"""What fewer proposals cost a detector in AP, and what they save in time, on built-in scenes that it never saw.

    python runs/detect_proposals.py RUN [--proposals 1000 300 100 50 25 10] [--scenes 500] [--rounds 40]

RUN is a detector that knows the built-in scenes' classes, as `gcvit train detect detect_small` and runs/detect_small.py
train it. AP is measured on all the scenes, as `gcvit eval --proposals` does. Time is that of `predict` of eight scenes,
all numbers of proposals in turns, so that other work on the machine meets each alike; a ratio is that of medians. Ends
with a table.
"""

import argparse
import time
from statistics import median

from PIL import Image
from study import tell

import gcvit
from gcvit.cli.output import say
from gcvit.data.scenes import ObjectScenes
from gcvit.tasks.detect.settings import DetectLooks
from gcvit.tasks.evaluate import evaluate
from gcvit.tasks.opened import Opened
from gcvit.tasks.task import HeldOut
from gcvit.wording import percent

BATCH, SIDE = 8, 128
FIGURES = {"box_ap": ">box AP", "box_ap50": ">box AP50", "mask_ap": ">mask AP", "mask_ap50": ">mask AP50"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--proposals", type=int, nargs="+", default=[1000, 300, 100, 50, 25, 10])
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    opened = gcvit.open(options.run)
    scenes = ObjectScenes("test", options.scenes, SIDE)
    figures = {}
    for proposals in options.proposals:
        say(f"AP with {proposals} proposals")
        looks = DetectLooks(proposals=proposals)
        figures[proposals] = evaluate(opened, HeldOut(scenes, "unseen scenes"), looks=looks, device="cpu")
    milliseconds = timed(opened, scenes, options.proposals, options.rounds)
    most = median(milliseconds[options.proposals[0]])
    rows = []
    for proposals, measured in figures.items():
        taken = median(milliseconds[proposals])
        reached = (percent(measured.evaluation.metrics[name] or 0.0) for name in FIGURES)
        rows.append([str(proposals), *reached, f"{taken / BATCH:.1f}", f"{taken / most:.2f}"])
    tell([">proposals", *FIGURES.values(), ">ms a scene", ">time against the first"], rows)


def timed(opened: Opened, scenes: ObjectScenes, counts: list[int], rounds: int) -> dict[int, list[float]]:
    """Milliseconds of each round, by the number of proposals: the same scenes for all, in turns."""
    found: dict[int, list[float]] = {count: [] for count in counts}
    for number in range(-1, rounds):  # the first is not counted
        say(f"time: round {max(number, 0) + 1} of {rounds}")
        first = (BATCH * max(number, 0)) % len(scenes)
        pictures = [Image.fromarray(scenes.drawn((first + place) % len(scenes))[..., :3]) for place in range(BATCH)]
        for count in counts:
            start = time.perf_counter()
            opened.predict(pictures, looks=DetectLooks(proposals=count), batch_size=BATCH, device="cpu")
            if number >= 0:
                found[count].append(1e3 * (time.perf_counter() - start))
    return found


if __name__ == "__main__":
    main()
