"""The folder that a run writes into."""

from itertools import count
from pathlib import Path

RUNS = Path("gcvit-runs")


def claim_folder(out: str | Path | None, name: str, runs: Path = RUNS) -> Path:
    """Create the folder for a run: `out`, or for None the first free `runs`/`name`-001, -002, ….

    Raises ValueError when `out` is a file or has something in it: a run never mixes with another one's files.
    """
    if out is not None:
        check_folder(out)
        Path(out).mkdir(parents=True, exist_ok=True)
        return Path(out)
    numbers = count(1)
    while True:
        folder = runs / f"{name}-{next(numbers):03}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:  # also when another run has just taken it
            continue
        return folder


def check_folder(out: str | Path) -> None:
    """Raise ValueError when `claim_folder` would refuse `out`; writes nothing."""
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; give the name of a new folder for the results")
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} has files in it already; give the name of a new folder for the results")
