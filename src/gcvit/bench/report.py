"""What results of every kind are told with: tables in Markdown, pages, digits, and the machine of a measurement."""

import platform
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import torch

from gcvit.engine.device import cores
from gcvit.files import write_atomically, write_json

Say = Callable[[str], None]


class Grid(NamedTuple):
    """A table. columns: headings; one that starts with ">" is of numbers, set to the right. shown: on a terminal too,
    not on the page alone."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    shown: bool = True


@dataclass(frozen=True)
class Page:
    """Results for people, on a terminal and in a file. facts: names and values, of what was measured on what. notes:
    what was done and how the tables are to be read, in lines of a terminal. meanings: of names in the tables."""

    title: str
    tables: Sequence[Grid]
    notes: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    meanings: Sequence[tuple[str, str]] = ()

    def markdown(self, command: Sequence[str] = ()) -> str:
        """command: what was typed, to be printed beside the numbers."""
        parts = [f"# {self.title}" if self.title else "", markdown_facts(self.facts)]
        for title, columns, rows, _ in self.tables:
            parts += [f"### {title}" if title else "", markdown_table(columns, rows)]
        parts += ["\n".join(self.notes), markdown_facts(self.meanings), f"    {shlex.join(command)}" if command else ""]
        return "\n\n".join(filter(None, parts)) + "\n"


def write_results(folder: Path, name: str, content: object, page: Page, command: Sequence[str]) -> list[Path]:
    """Write NAME.json and NAME.md into a folder, which is made; returns their paths. command: what was typed."""
    folder.mkdir(parents=True, exist_ok=True)
    data, text = folder / f"{name}.json", folder / f"{name}.md"
    write_json(data, content)
    write_atomically(text, page.markdown(command).encode())
    return [data, text]


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A pipe table; a heading that starts with ">" is set to the right, as numbers are."""
    lines = [
        [column.removeprefix(">") for column in columns],
        ["---:" if column.startswith(">") else "---" for column in columns],
        *rows,
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown_facts(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of "name: value"."""
    return "\n".join(f"- {name}: {value}" for name, value in pairs)


def digits(value: float | None) -> str:
    """Three digits or more, as measurements deserve no more; nothing for None."""
    if value is None:
        return ""
    for decimals, least in ((0, 100), (1, 10), (2, 1)):
        if value >= least:
            return f"{value:.{decimals}f}"
    return f"{value:.3f}"


def signed(share: float) -> str:
    """A difference in per cent, without a minus before a zero."""
    return f"{round(share, 3) + 0.0:+.1%}"


def machine(device: torch.device, threads: int | None = None) -> dict[str, str]:
    """What a measurement was made on: processor, cores, threads (None: as many as torch has now), GPU if `device` is
    one, and versions: name → value."""
    found = {
        "processor": f"{_processor()}, {cores()} cores, {torch.backends.cpu.get_cpu_capability()}",
        "threads": str(threads or torch.get_num_threads()),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        memory = f"{properties.total_memory / 2**30:.0f} GiB"
        found["GPU"] = f"{properties.name}, {memory}, CUDA {torch.version.cuda}"
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "timm"))
    found["software"] = f"{packages}, Python {platform.python_version()}, {platform.system()}"
    return found


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
