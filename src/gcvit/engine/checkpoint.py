"""Checkpoints that a run goes on from exactly: weights, moving average, optimiser and the step; and when it saves them.

A checkpoint is a directory, `step-000000123/`. It is written beside its place, flushed to the disk and renamed, so it
is there whole or not at all; its `meta.json` holds the SHA-256 of every file, so damage done later is noticed. Nothing
else need be saved: order, augmentation and all random numbers are functions of the step.
"""

import errno
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import nn

from gcvit import __version__, distributed
from gcvit.engine.state import State
from gcvit.errors import UserError
from gcvit.files import Sink, flush_folder, write_durably
from gcvit.meta import (
    FORMAT,
    META,
    DamagedCheckpoint,
    amend_meta,
    checkpoint_path,
    damage_in,
    encoded,
    list_checkpoints,
    read_meta,
)

MODEL, EMA, OPTIMIZER = "model.safetensors", "ema.safetensors", "optimizer.pt"


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


def save_checkpoint(folder: Path, state: State, meta: Mapping[str, Any], *, keep: int) -> Path:
    """Write `folder`/step-…, then remove all but the newest `keep`.

    meta: plain JSON values that `read_meta` gives back. A checkpoint of this step that is there already stays.
    Raises OSError when the disk is full; the checkpoints before are still there then, and nothing half-written.
    """
    place = checkpoint_path(folder, state.step)
    for left in folder.glob(".step-*.writing"):  # by processes that were killed
        shutil.rmtree(left, ignore_errors=True)
    if not place.exists():
        aside = folder / f".{place.name}.writing"
        aside.mkdir(parents=True)
        try:
            _write(aside, state, meta)
            aside.rename(place)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        flush_folder(folder)
    for old in list_checkpoints(folder)[keep:]:
        shutil.rmtree(old, ignore_errors=True)  # what cannot go now goes after the next save
    return place


def newest_checkpoint(folder: Path, complain: Callable[[str], None]) -> Path | None:
    """The newest checkpoint that is as it was written; None when none was ever saved.

    Damaged ones that are newer are reported and put aside, not deleted: renamed to damaged-step-…. Raises UserError
    when all are damaged, or one was written in another format, and OSError when one cannot be read now.
    """
    for path in list_checkpoints(folder):
        try:
            verify(path)
        except DamagedCheckpoint as damage:
            aside = path.with_name(f"damaged-{path.name}")
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
            complain(f"{damage}; put aside as {aside.name}")
        else:
            return path
    if any(folder.glob("damaged-*")):
        raise UserError(
            f"{folder}: all checkpoints in it are damaged. To start this run from its beginning, remove that folder"
        )
    return None


def verify(path: Path) -> None:
    """Raise DamagedCheckpoint, naming the file, unless every file is as it was written."""
    if damage := damage_in(path, read_meta(path)["files"]):
        raise DamagedCheckpoint(damage)


def load_checkpoint(path: Path, state: State) -> None:
    """Put `state` back to what was saved. The files are as `verify` left them; nothing is unpickled but tensors."""
    state.step = read_meta(path)["step"]
    state.model.load_state_dict(load_file(path / MODEL))
    if state.ema is not None:
        state.ema.module.load_state_dict(load_file(path / EMA))
    state.optimizer.load_state_dict(torch.load(path / OPTIMIZER, map_location="cpu", weights_only=True))


def load_result(path: Path, state: State) -> None:
    """Give the model to evaluate and save, `state.result`, the weights that it had then; all else stays."""
    state.result.load_state_dict(load_file(path / (MODEL if state.ema is None else EMA)))


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


def _write(aside: Path, state: State, meta: Mapping[str, Any]) -> None:
    optimizer = state.optimizer.state_dict()
    parts: dict[str, Callable[[Sink], object]] = {  # one at a time in memory
        MODEL: lambda file: file.write(_weights(state.model)),
        OPTIMIZER: lambda file: torch.save(optimizer, file),  # type: ignore[arg-type]
    }
    if state.ema is not None:
        average = state.ema.module
        parts[EMA] = lambda file: file.write(_weights(average))
    files = {name: write_durably(aside / name, write) for name, write in parts.items()}
    content = encoded({**meta, "format": FORMAT, "step": state.step, "files": files})
    write_durably(aside / META, lambda file: file.write(content))
    flush_folder(aside)


def _weights(model: nn.Module) -> bytes:
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    bytearray(sum(tensor.nbytes for tensor in weights.values()))  # MemoryError; `save` would end the process instead
    return save(weights)


def _is_of_memory(error: BaseException) -> bool:
    """Whether an error, of Python, torch or safetensors, says that no more memory was to be had."""
    signs = ("DefaultCPUAllocator", "PanicException", "out of memory")
    return isinstance(error, MemoryError) or any(sign in f"{type(error).__name__}: {error}" for sign in signs)
