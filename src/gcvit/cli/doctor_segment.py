"""`gcvit doctor segment`: what is wrong with pictures and their label maps."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from gcvit.cli.arguments import parse
from gcvit.cli.findings import reading_processes, show_findings, side_facts
from gcvit.cli.output import count, counter, facts, next_steps, percent, say, table
from gcvit.data.segment_doctor import SceneHealth, examine_scenes
from gcvit.data.segment_folders import TRAINING, WHOLE
from gcvit.recipes import segment_small
from gcvit.tasks.segment.config import label_flags

CLASSES = 16  # the largest number of classes that are all listed
LARGEST = 512  # px, the greatest side of a crop that is proposed


@dataclass(frozen=True)
class Doctor:
    """Read every picture and its label map, and report what is damaged, missing, repeated, of two sizes, or no class.

    It ends with exit code 1 when something must be mended.
    """

    data: Positional[Path]
    """what --data is in training: a folder with images/ and annotations/, labels/ or masks/"""
    classes_file: Path | None = None
    """text file with a class name a line; none: classes.txt in data, or ADE20K's own"""
    ignore_label: int | None = 255
    """value in label files of pixels that do not count; none: every value is a class"""
    zero_is_ignored: bool | None = None
    """label 0 does not count and classes start at 1; none: for ADE20K only"""
    workers: int | None = None
    """processes that read; none: one per core"""
    json: Path | None = None
    """file for all findings; the screen shows the first of each kind"""


def run(argv: Sequence[str]) -> int:
    """Examine and show. Returns 1 when something must be mended."""
    arguments = parse(Doctor, "doctor segment", argv)
    workers = reading_processes(arguments.workers)
    with counter("reading") as progress:
        health = examine_scenes(
            arguments.data,
            classes_file=arguments.classes_file,
            ignore_label=arguments.ignore_label,
            zero_is_ignored=arguments.zero_is_ignored,
            workers=workers,
            progress=progress,
        )
    _overview(health)
    _classes(health)
    show_findings(health, arguments.json)
    flags = label_flags(arguments.classes_file, arguments.ignore_label, arguments.zero_is_ignored)
    if health.faults:
        say("\nmend these, then look again:")
        next_steps(["gcvit", "doctor", "segment", arguments.data, *flags])
    elif not set(health.pictures) & {*TRAINING, WHOLE}:
        say("\nthere is no training part: this set is for evaluation alone")
        next_steps(["gcvit", "eval", "segment", "RUN", "--data", arguments.data, *flags])
    else:
        next_steps(["gcvit", "train", "segment", "--data", arguments.data, *flags, *_crop(health)])
    return 1 if health.faults else 0


def _overview(health: SceneHealth) -> None:
    pairs = [("data", health.root)]
    for part, number in health.pictures.items():
        ignored, labelled = health.ignored[part], sum(health.pixels[part].values())
        share = f", {percent(ignored / (ignored + labelled))} of them ignored" if ignored + labelled else ""
        pairs.append((part, f"{number:,} pictures, {count(ignored + labelled)} pixels" + share))
    facts([*pairs, *side_facts(health.sides)])


def _classes(health: SceneHealth) -> None:
    """Their shares of the pixels that have a class."""
    first = next(iter(health.pixels.values()))
    names, title = list(first), "class"
    if len(names) > CLASSES:
        names.sort(key=lambda name: (first[name], name))
        names = names[: CLASSES // 2] + names[-CLASSES // 2 :]
        title = f"the {CLASSES // 2} rarest and commonest of {len(first):,} classes"
    totals = {part: max(1, sum(pixels.values())) for part, pixels in health.pixels.items()}
    rows = [[name, *(_share(health.pixels[part][name] / totals[part]) for part in totals)] for name in names]
    table([title, *(f">{part}" for part in totals)], rows)


def _share(share: float) -> str:
    return "< 0.1%" if 0 < share < 0.0005 else percent(share) if share else "none"


def _crop(health: SceneHealth) -> list[object]:
    """Crops of the pictures' median size in steps of 32 px, the stride of the fourth map."""
    if not health.sides:
        return []
    height, width = (min(max(health.sides[side][2] // 32 * 32, 32), LARGEST) for side in ("height", "width"))
    return [] if (height, width) == segment_small().augment.crop else ["--crop", height, width]
