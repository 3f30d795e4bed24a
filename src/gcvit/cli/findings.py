"""How the doctors of data speak: what they found, on the screen and in a file."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from gcvit.cli.output import say, table
from gcvit.data.doctor import LEAK, Finding, Health
from gcvit.data.segment_doctor import SceneHealth
from gcvit.files import write_atomically

SHOWN = 5  # findings of a kind, and files of a finding, that are printed


def reading_processes(workers: int | None) -> int:
    """--workers, or one for each core that this process may use, which a batch system may have limited.

    Raises ValueError for less than none.
    """
    if workers is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if workers < 0:
        raise ValueError(f"--workers {workers}: it must be at least 0")
    return workers


def side_facts(sides: Mapping[str, Sequence[int]]) -> list[tuple[str, str]]:
    """Quantiles of width and height in words."""
    pairs = []
    for side, (least, quarter, median, three_quarters, most) in sides.items():
        spread = f"{least} to {most}, median {median}, half of them {quarter} to {three_quarters}"
        pairs.append((side, spread if least < most else f"{least}"))
    return pairs


def show_findings(health: Health | SceneHealth, file: Path | None) -> None:
    """Faults and notes, a few of each kind; all of them go to `file`, as JSON."""
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
            more = f" and {len(finding.files) - SHOWN:,} more" if len(finding.files) > SHOWN else ""
            say("  " + ": ".join(filter(None, (", ".join(finding.files[:SHOWN]) + more, finding.detail))))
        if len(some) > SHOWN:
            say(f"  and {len(some) - SHOWN:,} more")
