"""Checkpoints that a run goes on from exactly: weights, moving average, optimiser and the step.

A checkpoint is a directory, `step-000000123/`. It is written beside its place, flushed to the disk and renamed, so it
is there whole or not at all; its `meta.json` holds the SHA-256 of every file, so damage done later is noticed. Nothing
else need be saved: order, augmentation and all random numbers are functions of the step.
"""

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import nn

from gcvit.engine.state import State
from gcvit.files import flush_folder, write_durably

FORMAT = 1
MODEL, EMA, OPTIMIZER, META = "model.safetensors", "ema.safetensors", "optimizer.pt", "meta.json"


class DamagedCheckpoint(ValueError):
    """A checkpoint that is not what was written."""


def save_checkpoint(folder: Path, state: State, meta: Mapping[str, Any], *, keep: int) -> Path:
    """Write `folder`/step-…, then remove all but the newest `keep`.

    meta: plain JSON values that `read_meta` gives back. A checkpoint of this step that is there already stays.
    Raises OSError when the disk is full; the checkpoints before are still there then, and nothing half-written.
    """
    place = folder / f"step-{state.step:09}"
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


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, the newest first; whole or not."""
    return sorted(folder.glob("step-*"), reverse=True)


def newest_checkpoint(folder: Path, complain: Callable[[str], None]) -> Path | None:
    """The newest checkpoint that is as it was written; None when none was ever saved.

    Damaged ones that are newer are reported and put aside, not deleted: renamed to damaged-step-…. Raises ValueError
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
        raise ValueError(
            f"{folder}: all checkpoints in it are damaged. To start this run from its beginning, remove that folder"
        )
    return None


def verify(path: Path) -> None:
    """Raise DamagedCheckpoint, naming the file, unless every file is as it was written."""
    for name, expected in read_meta(path)["files"].items():
        try:
            with (path / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError as error:  # other reasons may pass, such as too many open files
            raise DamagedCheckpoint(f"{path / name}: damaged, it is missing") from error
        if found != expected:
            raise DamagedCheckpoint(f"{path / name}: damaged, its SHA-256 is not the one in {META}")


def read_meta(path: Path) -> dict[str, Any]:
    """What `save_checkpoint` was given, with `step`, `format` and `files`. Raises DamagedCheckpoint, and ValueError for
    another format."""
    try:
        content = json.loads((path / META).read_text(encoding="utf-8"))
        meta, expected = content["meta"], content["sha256"]
    except (FileNotFoundError, ValueError, LookupError, TypeError) as error:
        raise DamagedCheckpoint(f"{path / META}: damaged, not readable ({error})") from error
    if _digest(meta) != expected:
        raise DamagedCheckpoint(f"{path / META}: damaged, its SHA-256 is another")
    if meta["format"] != FORMAT:
        raise ValueError(
            f"{path} is written in format {meta['format']}, and this version of gcvit reads {FORMAT}; go on with the "
            f"version that wrote it ({meta.get('versions', {}).get('gcvit', 'unknown')}), or train into another folder"
        )
    return meta


def load_checkpoint(path: Path, state: State) -> None:
    """Put `state` back to what was saved. The files are as `verify` left them; nothing is unpickled but tensors."""
    state.step = read_meta(path)["step"]
    _load(state.model, path / MODEL)
    if state.ema is not None:
        _load(state.ema.module, path / EMA)
    state.optimizer.load_state_dict(torch.load(path / OPTIMIZER, map_location="cpu", weights_only=True))


def _write(aside: Path, state: State, meta: Mapping[str, Any]) -> None:
    parts = {MODEL: lambda: _weights(state.model), OPTIMIZER: lambda: _pickled(state.optimizer.state_dict())}
    if state.ema is not None:
        average = state.ema.module
        parts[EMA] = lambda: _weights(average)
    files = {}
    for name, content_of in parts.items():  # one at a time in memory
        content = content_of()
        write_durably(aside / name, content)
        files[name] = hashlib.sha256(content).hexdigest()
    whole = {**meta, "format": FORMAT, "step": state.step, "files": files}
    content = json.dumps({"meta": whole, "sha256": _digest(whole)}, indent=1).encode()
    write_durably(aside / META, content)
    flush_folder(aside)


def _pickled(values: Mapping[str, Any]) -> bytes:
    content = io.BytesIO()
    torch.save(values, content)  # not into the file: there a full disk is a RuntimeError about positions
    return content.getvalue()


def _weights(model: nn.Module) -> bytes:
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()})


def _load(model: nn.Module, path: Path) -> None:
    model.load_state_dict(load_file(path))


def _digest(meta: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()
