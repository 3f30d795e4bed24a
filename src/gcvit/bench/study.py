"""A study: runs whose results become lines of a file. It survives a stop: what is in the file is not run again."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch

from gcvit.bench.report import machine
from gcvit.engine.config import differences
from gcvit.engine.pace import Pace
from gcvit.errors import UserError
from gcvit.files import require_folder, write_atomically
from gcvit.wording import plural

RESULTS = "results.jsonl"  # in a study's folder
Run = TypeVar("Run", bound=tuple)


class Rows:
    """The lines of `path`, each an object with these `keys` and the `budget` that it depends on: all settings, in plain
    JSON types. The folder is made. The first keys say which run it is, the last of these being the seed.

    Raises UserError when lines that are there have another budget or are no such lines, and for a folder that cannot be
    written to.
    """

    def __init__(self, path: Path, budget: Mapping[str, Any], keys: Sequence[str]) -> None:
        self.path, self.budget, self.keys = path, _placed(budget), keys
        require_folder(path.parent)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.rows = read_rows(path, keys)
        for row in self.rows:
            if changes := differences(_placed(row["budget"]), self.budget):
                raise UserError(
                    f"{path} has results of another budget: {'; '.join(changes)}; give another folder, or the same "
                    "settings"
                )

    def add(self, row: Mapping[str, Any]) -> None:
        """One more, on the disk when this returns. Raises UserError when another process has added some."""
        if len(read_rows(self.path, self.keys)) != len(self.rows):
            raise UserError(f"{self.path}: another process adds results to it; give each a folder of its own")
        rows = [*self.rows, {**row, "budget": self.budget}]
        write_atomically(self.path, "".join(json.dumps(row) + "\n" for row in rows).encode())
        self.rows = rows

    def left(self, runs: Mapping[Run, int]) -> Iterator[tuple[Run, str]]:
        """The runs that have no line yet, in their order, each to be added before the next; and what to say of it, with
        the time left. runs: the first keys' values; and how long each takes beside the others."""
        names = self.keys[: len(next(iter(runs), ()))]
        done = {tuple(row[name] for name in names) for row in self.rows}
        left = {run: length for run, length in runs.items() if run not in done}
        pace, before = Pace(sum(left.values())), 0
        for number, (run, length) in enumerate(left.items(), 1):
            *arm, seed = run
            pace.stepped(before)
            remaining = pace.left()
            yield run, f"run {number} of {len(left)}: {', '.join(arm)}, seed {seed}{remaining and f'; {remaining}'}"
            before += length

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """While runs are made: Ctrl-C says what is kept of them."""
        try:
            yield
        except KeyboardInterrupt as stop:
            kept = f"{self.path} has {plural(len(self.rows), 'finished run')}; the same command goes on."
            raise KeyboardInterrupt(kept) from stop


def _placed(budget: Mapping[str, Any]) -> dict[str, Any]:
    """With the place of the data, however it is spelled, and from wherever; files may have it as it was typed."""
    data = budget.get("data")
    return {**budget, "data": os.path.realpath(data)} if data else dict(budget)


def read_rows(path: Path, keys: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The lines of a file; none of one that is not there. Raises UserError, naming the line, for what is no object with
    a budget and these keys."""
    if not path.exists():
        return []
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise UserError(f"{path} is no file of results: {error.strerror}; give another folder") from error
    return [_row(line, keys, f"{path}, line {number}") for number, line in enumerate(lines, 1)]


def _row(line: bytes, keys: Sequence[str], where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict) or not isinstance(row.get("budget"), dict) or not row.keys() >= set(keys):
        wanted = ", ".join(("budget", *keys))
        raise UserError(
            f"{where}: no whole result, which has {wanted}; delete that line, and its run alone is made again, or give "
            "another folder"
        )
    return row


def made_on(device: torch.device) -> dict[str, str]:
    """The machine of a run, for its line; without threads, of which small models take one whatever there are."""
    return {name: value for name, value in machine(device).items() if name != "threads"}


def machines(rows: Sequence[Mapping[str, Any]]) -> str:
    """What the runs were made on, each machine once."""
    unknown = {"machine": "not written down"}  # in files of former versions
    named = ("; ".join(map(" ".join, row.get("machine", unknown).items())) for row in rows)
    return " and ".join(dict.fromkeys(named))
