"""`gcvit doctor PATH`: what is wrong with data, whatever the task that they are for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional

from gcvit.cli.arguments import ReadsPictures, checked, given, leading, parse, whole, with_parts
from gcvit.cli.output import counter, facts, flags_of, next_steps, say, table
from gcvit.data.settings import MOST_CHANNELS, RGB8, PixelFormat
from gcvit.engine.fields import Range
from gcvit.errors import UserError
from gcvit.files import write_atomically
from gcvit.shell import typed
from gcvit.tasks import task_named, task_of_data
from gcvit.weights.resolve import holds_model
from gcvit.wording import harmless, listed

if TYPE_CHECKING:
    from gcvit.data.doctor import Finding, Health
    from gcvit.tasks.task import Task

SHOWN = 5  # findings of a kind, and files of a finding, that are printed


@dataclass(frozen=True)
class Doctor(ReadsPictures):
    """Read all of a data set, and report what is damaged, missing, repeated or misplaced.

    It ends with exit code 1 when something must be mended.
    """

    data: Positional[Path]
    """what --data is in training"""
    task: str | None = None
    """what the data are for, such as classify; none: what they look like"""
    in_chans: Annotated[int, Range(1, MOST_CHANNELS)] = 3
    """channels of the pictures that the model will take"""
    value_range: Annotated[tuple[float, float] | None, Range(-3e38, 3e38)] = None
    """the numbers in picture files that are black and white; none: 0 and the greatest that their type can hold"""
    fix: Path | None = None
    """of an annotation file: write a repaired copy to this one, and list every change"""
    workers: Annotated[int | None, Range(0, 1_024)] = None
    """processes that read; none: one per core"""
    json: Path | None = None
    """file for all findings; the screen shows the first of each kind"""


def run(argv: Sequence[str]) -> int:
    """Examine and show. Returns 1 when something must be mended."""
    words, name = leading(argv), given("--task", argv)
    if words[:1] == [""]:
        raise UserError("the data have no name; give a folder or a file")
    if name is not None:
        task = task_named(name)
    else:
        arguments = checked(Doctor, "doctor", argv, "reading")
        task = task_of_data(Path(words[0]) if words else arguments.data)
    arguments = parse(with_parts(Doctor, reading=task.reading()), "doctor", argv)
    if holds_model(arguments.data):
        info = typed(["gcvit", "info", arguments.data])
        raise UserError(f"{arguments.data} is a model, not data; `{info}` describes it")
    if arguments.fix is not None:
        return _repair(task, arguments.data, arguments.fix)
    from gcvit.engine.device import cores

    workers = cores() if arguments.workers is None else arguments.workers
    pixels = PixelFormat(arguments.in_chans, arguments.value_range)
    reading: Any = whole(task.reading, arguments.reading)
    with counter("reading") as progress:
        health, flags = task.examine(arguments.data, reading, pixels, workers=workers, progress=progress)
    facts([("data for", task.name), *health.facts()])
    table(*health.per_class())
    _show_findings(health, arguments.json)
    asked_to_read = flags_of(reading, task.reading())
    said = [*asked_to_read, *flags_of(pixels, RGB8, in_chans="channels")]
    asked = ["--task", arguments.task] if arguments.task else []
    if reading_right := _read_right(health.faults):
        say("\nnothing is wrong with these files: they are to be read in another way")
        flags = flags_of(replace(pixels, **reading_right), RGB8, in_chans="channels")
        next_steps(["gcvit", "doctor", arguments.data, *asked, *asked_to_read, *flags])
    elif health.faults:
        skips = any(finding.kind.startswith("unreadable") for finding in health.faults)
        leave_out = " (or leave out what cannot be read: --bad-images skip)" if skips else ""
        say(f"\nmend these{leave_out}, then look again:")
        next_steps(["gcvit", "doctor", arguments.data, *asked, *said])
    elif not health.trains:
        say("\nthere is no training part: this set is for evaluation alone")
        next_steps(["gcvit", "eval", "RUN", "--data", arguments.data, *asked_to_read])
    else:
        levels = [] if pixels == RGB8 else ["--mean", *_rounded(health.mean), "--std", *_rounded(health.std)]
        flags = [*said, *levels, *flags]
        next_steps(["gcvit", "train", task.name, *task.own_recipe, "--data", arguments.data, *flags])
    return 1 if health.faults else 0


def _repair(task: Task, data: Path, out: Path) -> int:
    changes = task.repair(data, out)
    for change in changes:
        say(change)
    say(f"\n{len(changes):,} changes; the repaired copy is {out}" if changes else "\nnothing was changed")
    next_steps(["gcvit", "doctor", out, "--task", task.name])
    return 0


def _read_right(faults: Sequence[Finding]) -> dict[str, Any]:
    """Fields of `PixelFormat` with which nothing is wrong; none where something is, or files ask for different ones."""
    found: dict[str, Any] = {}
    for fault in faults:
        if any(found.setdefault(name, value) != value for name, value in fault.read_with.items()):
            return {}
    explained = {file for fault in faults if fault.read_with for file in fault.files}
    rest = [fault for fault in faults if not fault.read_with]
    right = all(fault.kind.startswith("unreadable") and explained.issuperset(fault.files) for fault in rest)
    return found if right else {}


def _rounded(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def _show_findings(health: Health, file: Path | None) -> None:
    """Faults and notes, a few of each kind; all of them go to `file`, as JSON."""
    from gcvit.data.doctor import LEAK

    _show("faults", health.faults)
    _show("worth knowing", health.notes)
    if file is not None:
        write_atomically(file, json.dumps(asdict(health), indent=1).encode())
        say(f"\nall findings are in {file}")
    leaks = sum(finding.kind == LEAK for finding in health.faults)
    if leaks:
        say(f"\nLEAK: {leaks:,} × the same image to train on and held out. Accuracy on it says nothing; remove one.")
    if not health.faults:
        say("\nnothing to mend")


def _show(title: str, findings: Sequence[Finding]) -> None:
    by_kind: dict[str, list[Finding]] = {}
    for finding in findings:
        by_kind.setdefault(finding.kind, []).append(finding)
    if by_kind:
        table([title, ">number"], [[kind, f"{len(some):,}"] for kind, some in by_kind.items()])
    for kind, some in by_kind.items():
        say(f"\n{kind}")
        for finding in some[:SHOWN]:
            files = listed(finding.files, SHOWN) if finding.files else ""
            say("  " + harmless(": ".join(filter(None, (files, finding.detail))), keep=""))
        if len(some) > SHOWN:
            say(f"  and {len(some) - SHOWN:,} more")
