"""Checkpoints that a run goes on from exactly: weights, moving average, optimiser and the step.

A checkpoint is a directory, `step-000000123/`. It is written beside its place, flushed to the disk and renamed, so it
is there whole or not at all; its `meta.json` holds the SHA-256 of every file, so damage done later is noticed. Nothing
else need be saved: order, augmentation and all random numbers are functions of the step.
"""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import nn

from gcvit.engine.state import State
from gcvit.errors import UserError
from gcvit.files import Sink, flush_folder, write_durably
from gcvit.meta import FORMAT, META, DamagedCheckpoint, checkpoint_path, damage_in, encoded, list_checkpoints, read_meta

MODEL, EMA, OPTIMIZER = "model.safetensors", "ema.safetensors", "optimizer.pt"


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
    _load(state.model, path / MODEL)
    if state.ema is not None:
        _load(state.ema.module, path / EMA)
    state.optimizer.load_state_dict(torch.load(path / OPTIMIZER, map_location="cpu", weights_only=True))


def load_result(path: Path, state: State) -> None:
    """Give the model to evaluate and save, `state.result`, the weights that it had then; all else stays."""
    _load(state.result, path / (MODEL if state.ema is None else EMA))


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


def _load(model: nn.Module, path: Path) -> None:
    model.load_state_dict(load_file(path))
