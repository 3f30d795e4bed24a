"""The folder of an evaluation's results, and the tables in it."""

import csv
from collections.abc import Iterable, Sequence
from io import StringIO
from pathlib import Path

from gcvit.files import write_atomically


def check_out(folder: Path) -> None:
    """Raise ValueError where evaluations cannot be written: over a file, or among a training run's files."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; give the name of a folder for the results")
    if (folder / "train.json").exists():
        raise ValueError(
            f"{folder} is a training run's folder; give another one for the results, such as {folder}/eval"
        )


def write_csv(path: Path, heading: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table, atomically."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heading)
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode("utf-8", "backslashreplace"))  # a file's name may be no valid text
