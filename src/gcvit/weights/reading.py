"""From a file, a hub directory or the hub to a bare state dict. Nothing here unpickles code."""

import argparse
import json
import pickle
import re
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

State = dict[str, Tensor]
WRAPPERS = ("state_dict", "model")
EMA_WRAPPERS = ("state_dict_ema", "model_ema")
PREFIXES = ("module.", "_orig_mod.")  # DistributedDataParallel, torch.compile
# What torch raises for a damaged file depends on where the damage is.
DAMAGE = (
    *(RuntimeError, EOFError, OSError, ValueError, LookupError, AttributeError, TypeError),
    *(AssertionError, MemoryError, struct.error),
)
WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"


@dataclass(frozen=True)
class Checkpoint:
    """A state dict, where it came from, and, if it stood beside one, timm's hub configuration."""

    state: State
    origin: str
    hub_config: dict | None = None


def read_checkpoint(path: Path, *, ema: bool = False) -> Checkpoint:
    """Read a checkpoint file (`.safetensors`, or any torch format) or a hub directory (config.json and weights).

    ema: take the averaged weights that lie beside the others.
    Raises ValueError, naming the file, when it is missing, damaged, no checkpoint, or would run code.
    """
    if path.is_dir():
        return _read_directory(path, ema)
    if not path.exists():
        raise ValueError(f"{path}: no such file or directory")
    if path.suffix == ".safetensors":
        content: object = _read_safetensors(path)
    else:
        content = _read_torch(path)
    return Checkpoint(unwrap(content, str(path), ema=ema), str(path))


def read_hub_config(directory: Path) -> dict:
    """`config.json` of a hub directory. Raises ValueError, naming the file, when it is missing or no JSON object."""
    file = directory / CONFIG_FILE
    if not file.is_file():
        raise ValueError(f"{directory}: no {CONFIG_FILE} in it, so it is not a model in timm's hub format")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: not readable as JSON ({error})") from error
    if not isinstance(config, dict):
        raise ValueError(f"{file}: should hold a JSON object, not {type(config).__name__}")
    return config


def _read_directory(directory: Path, ema: bool) -> Checkpoint:
    config = read_hub_config(directory)
    for name, read in ((WEIGHTS_FILE, _read_safetensors), ("pytorch_model.bin", _read_torch)):
        if (file := directory / name).is_file():
            return Checkpoint(unwrap(read(file), str(file), ema=ema), str(directory), config)
    raise ValueError(f"{directory}: no {WEIGHTS_FILE} in it")


def _read_safetensors(path: Path) -> State:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path}: the file is cut off or damaged, or is no safetensors file; copy or download it again ({error})"
        ) from error


def _read_torch(path: Path) -> object:
    # argparse.Namespace is what the published files keep their training arguments in; it holds values, no code.
    with torch.serialization.safe_globals([argparse.Namespace]):
        try:
            # Mapped, so that optimiser state, two thirds of a published file, is never read.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        except pickle.UnpicklingError as error:
            if asked := re.search(r"GLOBAL ([\w.]+)", str(error)):
                raise ValueError(
                    f"{path}: refused, because reading it could run code: it asks for {asked[1]}, and only tensors and "
                    f"plain values are read. If you trust its author, have them save the state dict as safetensors"
                ) from error
            raise ValueError(f"{path}: not a checkpoint that torch can read") from error
        except DAMAGE as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(
                f"{path}: the file is cut off or damaged, or is no checkpoint; copy or download it again (torch says: "
                f"{reason})"
            ) from error


def unwrap(content: object, origin: str, *, ema: bool = False) -> State:
    """The state dict inside what a training run saved, without the prefixes of wrapped models.

    Raises ValueError, naming `origin` and what is there, when there is none, or none averaged though `ema` asks for it.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"{origin}: holds a {type(content).__name__}, not a state dict")
    found: object = content
    keys = EMA_WRAPPERS if ema else WRAPPERS
    if key := next((key for key in keys if isinstance(content.get(key), Mapping)), None):
        found = content[key]
    elif ema:
        raise ValueError(f"{origin}: no averaged weights ({' or '.join(EMA_WRAPPERS)}) in it, only {_some(content)}")
    assert isinstance(found, Mapping)
    state = {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
    if not state or len(state) < len(found):
        raise ValueError(f"{origin}: no state dict in it; it holds {_some(found)}")
    while prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in state)), None):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _some(content: Mapping) -> str:
    names = [str(name) for name in content]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") if names else "nothing"
