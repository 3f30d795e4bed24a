"""What the commands that evaluate have in common: their checks, what they complain of and what they write."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from gcvit.cli.output import complain
from gcvit.engine.device import resolve_device
from gcvit.files import write_atomically
from gcvit.tasks.result_files import check_out
from gcvit.tasks.unreadable import Unreadable


class Measured(Protocol):
    """A checkpoint's evaluation."""

    def measures(self) -> dict[str, Any]:
        """All figures as plain JSON types."""


Result = TypeVar("Result", bound=Measured)


def check(
    models: Sequence[str], numbers: Sequence[tuple[str, int, int]], device: str, out: Path | None, example: str
) -> None:
    """Raise ValueError for what can be seen to be wrong before anything is opened.

    numbers: (flag, value, least value). example: the command to type instead of one without a model.
    """
    if not models:
        raise ValueError(f"name at least one model: {example}")
    for flag, value, least in numbers:
        if value < least:
            raise ValueError(f"{flag} {value}: it must be at least {least}")
    resolve_device(device)
    if out is not None:
        check_out(out)


def complain_of(unreadable: Sequence[Unreadable], caution: str | None) -> None:
    """On stderr: images that were left out, and figures that rest on few images."""
    for _, file, reason in unreadable[:10]:
        complain(f"left out {file}: {reason}")
    if len(unreadable) > 10:
        complain(f"left out {len(unreadable) - 10:,} more; --out lists them all")
    if caution:
        complain(caution)


def write(
    out: Path, results: Sequence[Result], write_files: Callable[[Path, Result], object], name: Callable[[Result], str]
) -> None:
    """One result's files into `out`; those of several into numbered folders below it, their figures beside them."""
    if len(results) == 1:
        write_files(out, results[0])
        return
    for number, result in enumerate(results, start=1):
        write_files(out / f"{number:02}-{name(result)}", result)
    content = json.dumps([result.measures() for result in results], indent=2) + "\n"
    write_atomically(out / "metrics.json", content.encode())
