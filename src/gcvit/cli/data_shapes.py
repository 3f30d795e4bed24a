"""`gcvit data shapes`: writes the built-in images as folders, for any task."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from gcvit.cli.arguments import parse
from gcvit.cli.output import next_steps, say, track
from gcvit.engine.fields import Range
from gcvit.errors import naming
from gcvit.tasks import task_named


@dataclass(frozen=True)
class Shapes:
    """Write the built-in images: OUT/train/ring/0001.png …, or with what other tasks need beside them."""

    out: Positional[Path]
    """a folder that does not exist yet, or is empty"""
    form: Annotated[str, arg(name="as", metavar="TASK")] = "classify"
    """the task that they are for: classify: one object an image, in class folders; segment: several, and the class of
    each pixel; detect: several, a box and a mask for each, as COCO has them"""
    train: Annotated[int, Range(1, 10**9)] = 8000
    """images to train on"""
    val: Annotated[int, Range(1, 10**9)] = 1000
    """held-out images, drawn from other seeds"""
    size: Annotated[int, Range(32, 8_192)] = 64
    """side of an image in pixels, at least 32"""
    seed: Annotated[int, Range(0, 2**63 - 1)] = 0
    """another seed draws other images"""


def run(argv: Sequence[str]) -> None:
    """Write the folders and say what to do with them. A run that is stopped leaves nothing behind."""
    arguments = parse(Shapes, "data shapes", argv)
    with naming("--as"):
        task = task_named(arguments.form)
    counts = {"train": arguments.train, "val": arguments.val}
    task.write_examples(arguments.out, counts, arguments.size, arguments.seed, partial(track, what="drawing"))
    say(f"{arguments.out}: {arguments.train} images to train on, {arguments.val} held out")
    train = ["gcvit", "train", task.name, "--data", arguments.out, *task.training_flags(arguments.size)]
    next_steps(["gcvit", "doctor", arguments.out], train)
