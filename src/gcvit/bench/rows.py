"""A file of results, a line a run, that survives a stop: what is in it is not run again."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gcvit.engine.config import differences
from gcvit.errors import UserError
from gcvit.files import write_atomically


class Rows:
    """The lines of `path`, each an object with the `budget` that it depends on: all settings, in plain JSON types.

    Raises UserError when those that are there have another budget, or are no such lines.
    """

    def __init__(self, path: Path, budget: Mapping[str, Any]) -> None:
        self.path, self.budget = path, dict(budget)
        self.rows: list[dict[str, Any]] = read_rows(path)
        for row in self.rows:
            if changes := differences(row["budget"], budget):
                raise UserError(
                    f"{path} has results of another budget: {'; '.join(changes)}; give another folder, or the same "
                    "settings"
                )

    def add(self, row: Mapping[str, Any]) -> None:
        """One more, on the disk when this returns. Raises UserError when another process has added some."""
        if len(read_rows(self.path)) != len(self.rows):
            raise UserError(f"{self.path}: another process adds results to it; give each a folder of its own")
        self.rows.append({**row, "budget": self.budget})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, "".join(json.dumps(row) + "\n" for row in self.rows).encode())


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The lines of a file; none of one that is not there. Raises UserError for what is no such file."""
    if not path.exists():
        return []
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no file of results: {error}; give another folder") from error
    if not all(isinstance(row, dict) and isinstance(row.get("budget"), dict) for row in rows):
        raise UserError(f"{path} has lines that are no results; give another folder")
    return rows
