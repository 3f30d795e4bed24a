"""`gcvit doctor data`: what is wrong with a set of images."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tyro.conf import Positional

from gcvit.cli.arguments import parse
from gcvit.cli.output import counter, facts, next_steps, say, table
from gcvit.data.doctor import LEAK, Finding, Health, examine
from gcvit.files import write_atomically

SHOWN = 5  # findings of a kind that are printed
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
    if arguments.workers is not None and arguments.workers < 0:
        raise ValueError(f"--workers {arguments.workers}: it must be at least 0")
    workers = _cores() if arguments.workers is None else arguments.workers
    with counter("reading") as progress:
        health = examine(arguments.data, workers=workers, progress=progress)
    _overview(health)
    _findings("faults", health.faults)
    _findings("worth knowing", health.notes)
    if arguments.json is not None:
        write_atomically(arguments.json, json.dumps(asdict(health), indent=1).encode())
        say(f"\nall findings are in {arguments.json}")
    leaks = sum(finding.kind == LEAK for finding in health.faults)
    if leaks:
        say(f"\nLEAK: {leaks:,} × the same image to train on and held out. Accuracy on it says nothing; remove one.")
    if not health.faults:
        say("\nnothing to mend")
    _what_next(arguments.data, health)
    return 1 if health.faults else 0


def _cores() -> int:
    """Those that this process may use, which a batch system may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _overview(health: Health) -> None:
    pairs = [("data", health.root)]
    for split, per_class in health.counts.items():
        pairs.append((split, f"{sum(per_class.values()):,} images of {len(per_class):,} classes"))
    for side, (least, quarter, median, three_quarters, most) in health.sides.items():
        spread = f"{least} to {most}, median {median}, half of them {quarter} to {three_quarters}"
        pairs.append((side, spread if least < most else f"{least}"))
    facts(pairs)
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


def _findings(title: str, findings: Sequence[Finding]) -> None:
    by_kind: dict[str, list[Finding]] = {}
    for finding in findings:
        by_kind.setdefault(finding.kind, []).append(finding)
    if by_kind:
        table([title, ">number"], [[kind, f"{len(some):,}"] for kind, some in by_kind.items()])
    for kind, some in by_kind.items():
        say(f"\n{kind}")
        for finding in some[:SHOWN]:
            say("  " + ": ".join(filter(None, (", ".join(finding.files), finding.detail))))
        if len(some) > SHOWN:
            say(f"  and {len(some) - SHOWN:,} more")


def _what_next(data: Path, health: Health) -> None:
    train = ["gcvit", "train", "classify", "small_images", "--data", data]
    if any(finding.kind == "unreadable" for finding in health.faults):
        next_steps([*train, "--bad-images", "skip"])
    elif any(finding.kind == "unbalanced classes" for finding in health.notes):
        next_steps([*train, "--class-weights", "balanced"])
    else:
        next_steps(train)
