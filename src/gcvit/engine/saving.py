"""When a run saves a checkpoint, and what it writes beside the state."""

import platform
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from gcvit import distributed
from gcvit.engine.checkpoint import save_checkpoint
from gcvit.engine.state import State


class Saver:
    """Saves the state into `folder` on rank 0, `minutes` apart, and whenever it is told to.

    record: plain JSON values about the run (its configuration, its data) that go into each checkpoint.
    """

    def __init__(self, folder: Path, record: Mapping[str, Any], *, minutes: float, keep: int) -> None:
        self.folder, self.seconds, self.keep = folder, 60 * minutes, keep
        self.record = {**record, "versions": versions(), "processes": distributed.world_size()}
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether it is time again. Rank 0's clock counts: elsewhere it never is."""
        return distributed.is_main() and time.monotonic() - self._last >= self.seconds

    def save(self, state: State) -> None:
        """Save now. Raises OSError, on all ranks, when that fails; the checkpoints before are still there then."""
        try:
            distributed.on_main(lambda: save_checkpoint(self.folder, state, self.record, keep=self.keep))
        except OSError as error:
            raise OSError(
                error.errno,
                f"{error.strerror}; the checkpoint of step {state.step} could not be saved. The ones before are whole: "
                f"make room and give the same command to go on",
                str(self.folder),
            ) from error
        self._last = time.monotonic()


def versions() -> dict[str, str]:
    """Of what the numbers may depend on."""
    found = {"python": platform.python_version()}
    for package in ("gcvit", "torch", "timm", "torchvision", "numpy", "pillow"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    if torch.version.cuda:
        found["cuda"] = torch.version.cuda
    return found
