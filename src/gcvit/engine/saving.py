"""When a run saves a checkpoint, and what it writes beside the state."""

import errno
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from gcvit import __version__, distributed
from gcvit.engine.checkpoint import save_checkpoint
from gcvit.engine.state import State
from gcvit.meta import DamagedCheckpoint, amend_meta, checkpoint_path, list_checkpoints


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
        with explaining(f"the checkpoint of step {state.step}", self.folder):
            distributed.on_main(lambda: save_checkpoint(self.folder, state, self.record, keep=self.keep))
        self._last = time.monotonic()

    def note(self, step: int, results: Mapping[str, Any]) -> None:
        """Let the checkpoint of `step`, and those to come, say what is in best/ and last/ now; and the older ones that
        it is so later, for a day on which the newest is damaged. Raises OSError, on all ranks."""
        self.record["results"] = results
        place = checkpoint_path(self.folder, step)

        def write() -> None:
            amend_meta(place, results=results)
            for older in list_checkpoints(self.folder):
                if older != place:
                    with suppress(DamagedCheckpoint, OSError):
                        amend_meta(older, later=results)

        distributed.on_main(write)


@contextmanager
def explaining(what: str, folder: Path) -> Iterator[None]:
    """A full disk, or memory, on which `what` could not be written is an OSError that says what is lost: nothing."""
    try:
        yield
    except BaseException as error:
        if _is_of_memory(error):
            number, reason = errno.ENOMEM, "not enough memory"
        elif isinstance(error, OSError) and error.errno is not None:
            number, reason = error.errno, str(error.strerror)
        else:
            raise
        raise OSError(
            number,
            f"{reason}; {what} could not be saved. The ones before are whole: make room and give the same command to "
            f"go on",
            str(folder),
        ) from error


def _is_of_memory(error: BaseException) -> bool:
    """Whether an error, of Python, torch or safetensors, says that no more memory was to be had."""
    signs = ("DefaultCPUAllocator", "PanicException", "out of memory")
    return isinstance(error, MemoryError) or any(sign in f"{type(error).__name__}: {error}" for sign in signs)


def versions() -> dict[str, str]:
    """Of what the numbers may depend on."""
    found = {"python": platform.python_version(), "gcvit": __version__}
    for package in ("torch", "timm", "torchvision", "numpy", "pillow"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    if torch.version.cuda:
        found["cuda"] = torch.version.cuda
    return found
