"""`gcvit data shapes`: writes the built-in images as folders, for classification or segmentation."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from gcvit.cli.arguments import parse
from gcvit.cli.output import next_steps, say, track
from gcvit.data.scenes import SCENE_CLASSES, write_segmentation_folders
from gcvit.data.shapes import CLASSES, write_class_folders
from gcvit.recipes import segment_small


@dataclass(frozen=True)
class Shapes:
    """Write the built-in images: OUT/train/ring/0001.png …, or with their labels OUT/images/training/0001.png …"""

    out: Positional[Path]
    """a folder that does not exist yet, or is empty"""
    form: Annotated[Literal["classify", "segment"], tyro.conf.arg(name="as")] = "classify"
    """classify: one object an image, in class folders; segment: several, and the class of each pixel"""
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
    segment = arguments.form == "segment"
    write, classes = (write_segmentation_folders, SCENE_CLASSES) if segment else (write_class_folders, CLASSES)
    counts = {"train": arguments.train, "val": arguments.val}
    write(arguments.out, counts, arguments.size, arguments.seed, partial(track, what="drawing"))
    say(f"{arguments.out}: {arguments.train} images to train on, {arguments.val} held out, {len(classes)} classes")
    if segment:
        size = arguments.size
        crop = [] if segment_small().augment.crop == (size, size) else ["--crop", size, size]
        train = ["gcvit", "train", "segment", "--data", arguments.out, *crop]
        next_steps(["gcvit", "doctor", "segment", arguments.out], train)
    else:
        next_steps(["gcvit", "train", "classify", "--data", arguments.out])
