"""What the commands that evaluate have in common: arguments and their checks, complaints, and files."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tyro.conf import Positional

from gcvit.cli.output import complain
from gcvit.engine.device import Precision, resolve_device
from gcvit.files import write_atomically
from gcvit.tasks.result_files import check_out
from gcvit.tasks.unreadable import BadImages, Unreadable


class Measured(Protocol):
    """A checkpoint's evaluation."""

    def measures(self) -> dict[str, Any]:
        """All figures as plain JSON types."""


Result = TypeVar("Result", bound=Measured)


@dataclass(frozen=True)
class EvaluationArguments:
    """What every command that evaluates takes; its own say what models and data are, and add to them."""

    model: Positional[tuple[str, ...]]
    """checkpoints"""
    data: str | None = None
    """what to measure on; none: held-out built-in images"""
    seed: int = 0
    """training's seed, which chose what it held out"""
    images: int = 1000
    """number of built-in images"""
    bad_images: BadImages = "error"
    """skip: leave out and list images that cannot be read; error: stop at the first"""
    out: Path | None = None
    """folder for metrics.json, per-class and per-image CSV files, confusion.png and report.html"""
    batch_size: int = 128
    """images computed at once"""
    workers: int = 0
    """processes that load images; 0: this one"""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda or cuda:1"""
    precision: Precision = "auto"
    """auto: bf16 on a GPU that has it, fp32 elsewhere"""
    json: bool = False
    """print one JSON object a line, for each row, instead of a table"""

    def check(self, example: str) -> None:
        """Raise ValueError for what can be seen to be wrong before anything is opened. example: a command that runs."""
        if not self.model:
            raise ValueError(f"name at least one model: {example}")
        for flag, value, least in (
            ("--seed", self.seed, 0),
            ("--images", self.images, 1),
            ("--batch-size", self.batch_size, 1),
            ("--workers", self.workers, 0),
        ):
            require_flag(flag, value, least)
        resolve_device(self.device)
        if self.out is not None:
            check_out(self.out)


def require_flag(flag: str, value: int, least: int) -> None:
    """Raise ValueError, naming the flag, for a value below `least`."""
    if value < least:
        raise ValueError(f"{flag} {value}: it must be at least {least}")


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
