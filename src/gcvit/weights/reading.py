"""From a file or a hub folder to a checkpoint. Nothing here unpickles code, and no tensor's values are read."""

import pickle
import re
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from gcvit.errors import UserError
from gcvit.files import parse_json, read_json
from gcvit.weights.catalogue import CatalogueEntry
from gcvit.weights.checks import check_dense
from gcvit.weights.hub import object_in
from gcvit.weights.names import Layout, State, layout_of, renamed
from gcvit.weights.resolve import CONFIG_FILE, WANTED, WEIGHTS_FILE, weights_in
from gcvit.weights.unwrapping import unwrap
from gcvit.wording import listed

BACKBONE = "backbone"  # before the names of a GC ViT's weights in a model that stands on it

# What the libraries raise for a damaged file depends on where the damage is.
DAMAGE = (
    *(RuntimeError, EOFError, OSError, ValueError, LookupError, AttributeError, TypeError, ArithmeticError),
    *(AssertionError, MemoryError, SystemError, struct.error, zipfile.BadZipFile, SafetensorError),
)
# What people's checkpoints hold beside tensors. None of it is made: something that does nothing stands in its place.
RECORDS = (
    "argparse.Namespace",  # the published files' training arguments
    *(f"pathlib.{name}" for name in ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")),
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *("numpy.dtype", "numpy.ndarray"),
    *("mmengine.logging.history_buffer.HistoryBuffer", "builtins.getattr"),  # by which its functions are named
)
LARGEST_HEADER = 2**20  # bytes, of a safetensors file; gcvit_large with UPerNet has a tenth of it
PLACEHOLDERS = {
    b"version https://git-lfs": "a pointer of Git LFS; fetch what it stands for with `git lfs pull`",
    b"<": "a web page; download the file itself",
}


@dataclass(frozen=True)
class Checkpoint:
    """Weights, what is known of them, and where they came from.

    state: names, shapes and types are at hand; the values are mapped from the file and read when they are used, once.
        Of a GC ViT's file its weights alone; of a hub folder of another task than classification all that is in it.
    origin: the file or folder. hub_config: the content of its config.json, if it has one: typed by nothing yet.
    beside: what is in the file beside the state, by name. meta: what other programs say of their files.
    entry: its row in the catalogue of published checkpoints. layout: whose names the weights had in the file, where
        `state` has ours.
    """

    state: State
    origin: str
    hub_config: dict | None = None
    beside: Mapping[str, object] = field(default_factory=dict)
    meta: object = None
    entry: CatalogueEntry | None = None
    layout: Layout | None = None

    @property
    def task(self) -> str | None:
        """The task that config.json names; None for a classifier and for weights alone."""
        found = (self.hub_config or {}).get("task")
        if not isinstance(found, str | None):
            raise UserError(f"{self.origin}: task in its {CONFIG_FILE} should be a name, not {found!r:.80}")
        return found

    @cached_property
    def gcvit(self) -> "Checkpoint":
        """The GC ViT in it, which is all of it or its backbone, with our names where they are known; others stay, to be
        listed as left over.

        Raises UserError when there is none, and when two names are one in ours.
        """
        if self.layout is not None:
            return self
        alone = self if self.task is None else self._backbone()
        layout = layout_of(alone.state)
        if layout is None:
            raise UserError(f"{self.origin}: not a GC ViT; its first names are {listed(alone.state, 4)}")
        return replace(alone, layout=layout, state=renamed(alone.state, layout, self.origin))

    def _backbone(self) -> "Checkpoint":
        prefix = f"{BACKBONE}."
        state = {name.removeprefix(prefix): x for name, x in self.state.items() if name.startswith(prefix)}
        if not state:
            raise UserError(
                f"{self.origin}: a model for {self.task}, but none of its weights' names begins with {prefix}, as "
                f"those of its GC ViT do; its first are {listed(self.state, 4)}"
            )
        beside = {name: x for name, x in self.state.items() if not name.startswith(prefix)}
        return replace(self, state=state, hub_config=object_in(self.hub_config, BACKBONE, self.origin), beside=beside)


def read_checkpoint(path: Path, *, ema: bool = False) -> Checkpoint:
    """Read a checkpoint file (`.safetensors`, or any torch format) or a hub folder (config.json and weights).

    ema: take the averaged weights that lie beside the others.
    Raises UserError, naming the file, when it is missing, damaged, no checkpoint, or would run code.
    """
    config, file = None, path
    if path.is_dir():
        config, found = read_hub_config(path), weights_in(path)
        if found is None:
            raise UserError(f"{path}: no {WEIGHTS_FILE} in it")
        file = found
    elif not path.exists():
        raise UserError(f"{path}: no such file or directory")
    return checkpoint_of(_content(file), str(file), Checkpoint({}, str(path), config), ema=ema)


def checkpoint_of(content: object, file: str, described: Checkpoint, *, ema: bool = False) -> Checkpoint:
    """A checkpoint that is described but for its weights, with those that were read.

    content: what was read; file: what to call it. Raises UserError as `unwrap` does, and for a folder of another task
    than classification whose file holds more than ordinary tensors.
    """
    if described.task is None:
        state, beside = unwrap(content, file, ema=ema)
        meta = content.get("meta") if isinstance(content, Mapping) else None
        return replace(described, state=state, beside=beside, meta=meta)
    if not isinstance(content, dict) or not all(isinstance(x, torch.Tensor) for x in content.values()):
        raise UserError(f"{file}: holds more than a state dict")
    check_dense(content, file)
    return replace(described, state=content)


def read_hub_config(directory: Path) -> dict:
    """`config.json` of a hub folder. Raises UserError, naming the file, when it is missing or no JSON object."""
    file = directory / CONFIG_FILE
    if not file.is_file():
        raise UserError(f"{directory}: no {CONFIG_FILE} in it, so it is no model's folder; give {WANTED}")
    return read_json(file)


def _content(path: Path) -> object:
    """What a checkpoint file holds, with tensors that are mapped from it."""
    with path.open("rb") as file:
        start = file.read(64)
    if what := next((what for mark, what in PLACEHOLDERS.items() if start.lstrip().startswith(mark)), None):
        raise UserError(f"{path}: not weights, but {what}")
    try:
        return _safetensors(path) if path.suffix == ".safetensors" else _torch(path)
    except UserError:
        raise
    except DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path}: the file is cut off or damaged, or is no checkpoint; copy or download it again ({reason:.200})"
        ) from error


def _safetensors(path: Path) -> State:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(min(length, LARGEST_HEADER + 1))
    try:
        parse_json(header, LARGEST_HEADER)  # the library would take a hundred megabytes, and a name twice
    except UserError as error:
        raise UserError(
            f"{path}: the file is cut off or damaged, or is no safetensors file: its header is {error}"
        ) from error
    return load_file(path)


def _torch(path: Path) -> object:
    zipped = zipfile.is_zipfile(path)
    if zipped:
        _check_archive(path)
    try:
        with torch.serialization.safe_globals([(_Record, name) for name in RECORDS]):
            # Mapped, so that optimiser state, two thirds of a published file, is never read.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        if asked := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise UserError(
                f"{path}: refused, because reading it could run code: it asks for {asked[1]}, and only tensors and "
                f"plain values are read. If you trust its author, have them save the state dict as safetensors"
            ) from error
        raise UserError(f"{path}: not a checkpoint that torch can read") from error


def _check_archive(path: Path) -> None:
    """Raise UserError for a zip that torch did not write, and for one that is larger unpacked."""
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
    if not any(record.filename.endswith("data.pkl") for record in records):
        raise UserError(f"{path}: an archive, but not a checkpoint; unpack it and give the folder or file in it")
    if packed := next((record.filename for record in records if record.compress_type != zipfile.ZIP_STORED), None):
        raise UserError(f"{path}: {packed} in it is compressed, as torch does not write it; save the checkpoint again")


class _Record:
    """Stands for a value that is no tensor and does nothing: what it was made of is dropped."""

    def __new__(cls, *_: object) -> "_Record":
        return super().__new__(cls)

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...
