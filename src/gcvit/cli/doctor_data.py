"""`gcvit doctor data`: what is wrong with a set of images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from gcvit.cli.arguments import parse
from gcvit.cli.findings import reading_processes, show_findings, side_facts
from gcvit.cli.output import counter, facts, next_steps, table
from gcvit.data.doctor import Health, examine

CLASSES = 16  # the largest number of classes that are all listed


@dataclass(frozen=True)
class Doctor:
    """Read every image of a set, and report what is damaged, tiny, huge, repeated or out of balance."""

    data: Positional[Path]
    """what --data is in training: a folder of class folders, ImageNet's, tar archives"""
    workers: int | None = None
    """processes that read; none: one per core"""
    json: Path | None = None
    """file for all findings; the screen shows the first of each kind"""


def run(argv: Sequence[str]) -> int:
    """Examine and show. Returns 1 when something must be mended."""
    arguments = parse(Doctor, "doctor data", argv)
    workers = reading_processes(arguments.workers)
    with counter("reading") as progress:
        health = examine(arguments.data, workers=workers, progress=progress)
    _overview(health)
    show_findings(health, arguments.json)
    _what_next(arguments.data, health)
    return 1 if health.faults else 0


def _overview(health: Health) -> None:
    pairs = [("data", health.root)]
    for split, per_class in health.counts.items():
        pairs.append((split, f"{sum(per_class.values()):,} images of {len(per_class):,} classes"))
    facts([*pairs, *side_facts(health.sides)])
    _classes(health.counts)


def _classes(counts: Mapping[str, Mapping[str, int]]) -> None:
    names = sorted({name for per_class in counts.values() for name in per_class})
    first = next(iter(counts.values()))
    title = "class"
    if len(names) > CLASSES:
        names.sort(key=lambda name: (first.get(name, 0), name))
        names = names[: CLASSES // 2] + names[-CLASSES // 2 :]
        title = f"the {CLASSES // 2} smallest and largest classes"
    rows = [[name, *(f"{per_class.get(name, 0):,}" for per_class in counts.values())] for name in names]
    table([title, *(f">{split}" for split in counts)], rows)


def _what_next(data: Path, health: Health) -> None:
    train = ["gcvit", "train", "classify", "small_images", "--data", data]
    if any(finding.kind == "unreadable" for finding in health.faults):
        next_steps([*train, "--bad-images", "skip"])
    elif any(finding.kind == "unbalanced classes" for finding in health.notes):
        next_steps([*train, "--class-weights", "balanced"])
    else:
        next_steps(train)
