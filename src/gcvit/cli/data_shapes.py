"""`gcvit data shapes`: writes the built-in images as class folders."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tyro.conf import Positional

from gcvit.cli.arguments import parse
from gcvit.cli.output import next_steps, say, track
from gcvit.data.shapes import CLASSES, write_class_folders


@dataclass(frozen=True)
class Shapes:
    """Write the built-in images as class folders: OUT/train/ring/0001.png …"""

    out: Positional[Path]
    """a folder that does not exist yet, or is empty"""
    train: int = 8000
    """images to train on"""
    val: int = 1000
    """held-out images, drawn from other seeds"""
    size: int = 64
    """side of an image in pixels, at least 32"""
    seed: int = 0
    """another seed draws other images"""


def run(argv: Sequence[str]) -> None:
    """Write the folders and say what to do with them. A run that is stopped leaves nothing behind."""
    arguments = parse(Shapes, "data shapes", argv)
    if arguments.size < 32:
        raise ValueError(f"--size {arguments.size}: the smallest image that GC ViT can see is 32 pixels a side")
    counts = {"train": arguments.train, "val": arguments.val}
    write_class_folders(arguments.out, counts, arguments.size, arguments.seed, partial(track, what="drawing"))
    say(f"{arguments.out}: {arguments.train} images to train on, {arguments.val} held out, {len(CLASSES)} classes")
    next_steps(["gcvit", "train", "classify", "--data", arguments.out])
