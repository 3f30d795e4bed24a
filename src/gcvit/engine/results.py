"""The weights that a run is for, the best and the last, and what its checkpoints say of them."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from gcvit import distributed
from gcvit.engine.checkpoint import explaining
from gcvit.engine.objective import Objective
from gcvit.files import flush_folder, sha256_of
from gcvit.meta import ASIDE, BEST, LAST, damage_in


@dataclass(frozen=True)
class Saved:
    """A model in best/ or last/: after which epoch, its metrics then, and the SHA-256 of each of its files."""

    epoch: int
    metrics: Mapping[str, float | None]
    files: Mapping[str, str]

    def __str__(self) -> str:
        known = next((f" ({name} {value:.4f})" for name, value in self.metrics.items() if value is not None), "")
        return f"epoch {self.epoch}{known}"


class Results:
    """`best/` and `last/` in a run's folder, written on rank 0, each with its epoch and metrics inside.

    What is in them stands in `record`, which every checkpoint keeps: so a run that goes on knows its own weights from
    damaged ones (`mending.py`). They are written aside, then recorded, then put in their places; a run that is killed
    in between either has never heard of them, or puts them in their places when it goes on.

    Attributes: best, last: the folders. saved: what is in them, by name. evaluations: all of the run, as its log has
    them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.best, self.last = folder, folder / BEST, folder / LAST
        self.aside = folder / ASIDE
        self.saved: dict[str, Saved] = {}
        self.evaluations: list[dict[str, Any]] = []

    @property
    def best_epoch(self) -> int:
        """After which epoch the weights in best/ were saved; 0: there are none yet."""
        return self.saved[BEST].epoch if BEST in self.saved else 0

    @property
    def best_metrics(self) -> Mapping[str, float | None]:
        return self.saved[BEST].metrics if BEST in self.saved else {}

    @property
    def last_epoch(self) -> int:
        """The last epoch that was evaluated; 0: none yet."""
        return self.evaluations[-1]["epoch"] if self.evaluations else 0

    def record(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        return {
            "evaluations": list(self.evaluations),
            "saved": {name: asdict(saved) for name, saved in self.saved.items()},
        }

    def recall(self, record: Mapping[str, Any]) -> None:
        """Take up what a checkpoint has recorded."""
        self.evaluations, self.saved = list(record["evaluations"]), saved_in(record)

    def is_best(self, value: float, score: str) -> bool:
        """Whether no earlier epoch has a higher value of the metric `score`."""
        before = self.best_metrics.get(score)
        return before is None or value >= before

    def save(
        self,
        objective: Objective,
        model: nn.Module,
        epoch: int,
        metrics: Mapping[str, float | None],
        names: Sequence[str],
        commit: Callable[[], None],
    ) -> None:
        """Save the model after `epoch` into the folders `names`, of best and last.

        commit: called when all is written, to keep the new `record` where the run will find it; then what was written
        takes its place. Raises OSError, on all ranks, when the disk is full; what was there stays.
        """

        def write() -> dict[str, Saved]:
            metadata = {"epoch": str(epoch), "metrics": json.dumps(dict(metrics))}
            self.clear()
            self.aside.mkdir()
            try:
                for name in names:
                    objective.save(model, self.aside / name, metadata)
                return {name: Saved(epoch, dict(metrics), _sums(self.aside / name)) for name in names}
            except BaseException:
                self.clear()
                raise

        with explaining(f"the weights of epoch {epoch}", self.folder):
            written = distributed.on_main(write)
            self.saved |= written
            commit()
            distributed.on_main(lambda: self._finish(written))

    def _finish(self, written: Mapping[str, Saved]) -> None:
        for name, saved in written.items():
            self.put_in_place(name, saved)
        self.clear()

    def put_in_place(self, name: str, saved: Saved) -> None:
        """Move what of `saved` was written aside, if anything, into the folder `name`, file by file; on rank 0."""
        for file, digest in sorted(saved.files.items()):  # config.json before the weights
            if damage_in(self.aside / name, {file: digest}) is None:
                (self.folder / name).mkdir(exist_ok=True)
                (self.aside / name / file).replace(self.folder / name / file)
                flush_folder(self.folder / name)

    def clear(self) -> None:
        """Remove what is left aside."""
        shutil.rmtree(self.aside, ignore_errors=True)


def saved_in(record: Mapping[str, Any]) -> dict[str, Saved]:
    """What was in best/ and last/ when a checkpoint was written, by name."""
    return {name: Saved(**saved) for name, saved in record["saved"].items()}


def _sums(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file in a folder."""
    return {path.name: sha256_of(path) for path in sorted(folder.iterdir())}
