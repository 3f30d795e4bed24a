"""Writes an exported file so that it is there whole, checked and with its sidecar, or not at all."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from gcvit.engine.checkpoint import versions
from gcvit.engine.config import as_dict
from gcvit.errors import UserError
from gcvit.export.check import Check, check
from gcvit.export.convert import convert, require_compiler
from gcvit.export.formats import INT8, SUFFIXES, Format, package, packages_of
from gcvit.export.int8 import quantise
from gcvit.export.runtime import load
from gcvit.export.sidecar import Sidecar, hashes, parts, read_sidecar, sidecar_path, write_sidecar
from gcvit.export.trained import Trained
from gcvit.files import flush_folder
from gcvit.model.config import Pair


@dataclass(frozen=True)
class Export:
    """An export that was written as `path`, with what belongs to it among `files`; where there is a `problem`, it was
    not."""

    path: Path
    files: list[Path]
    check: Check
    problem: str | None


def require_packages(to: Format, *, int8: bool) -> None:
    """Raise UserError for a format without int8, and for packages and a compiler that are missing."""
    if int8 and to not in INT8:
        raise UserError(f"there is no int8 for {to}; there is for {' and '.join(INT8)}")
    for name in packages_of(to, int8=int8):
        package(name)
    if to == "aot":
        require_compiler()


def export_path(folder: Path, trained: Trained, to: Format, *, int8: bool) -> Path:
    """FOLDER/NAME-HxW with what sets it apart from other exports of the same variant."""
    part = "" if trained.task == "classify" else f"-{trained.task}"
    height, width = trained.size
    return folder / f"{trained.opened.name}{part}-{height}x{width}{'-int8' if int8 else ''}{SUFFIXES[to]}"


def write_export(
    trained: Trained,
    path: Path,
    to: Format,
    *,
    calibration: Sequence[Tensor] | None = None,
    pictures: Mapping[str, Iterable[Tensor]],
    min_agreement: float,
    progress: Callable[[str], None],
) -> Export:
    """Convert, run and compare, and only then put the file and its sidecar in their places.

    calibration: batches of preprocessed images, for int8. pictures: what to compare on, see `check`.
    Raises UserError and OSError as `convert` and `load` do, and UserError for a format that the task's models are not
    written in, for what a sidecar cannot say and where another model's export lies; whatever happens, what was at
    `path` stays usable, or is refused by its sidecar's hash.
    """
    size: Pair = trained.size
    trained.require(to, int8=calibration is not None)
    sidecar = _sidecar(trained, to, int8=calibration is not None)
    _refuse_to_replace(path, trained)
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".exporting-", dir=path.parent) as folder:
        aside = Path(folder) / path.name
        whole = aside if calibration is None else Path(folder) / f"fp32{SUFFIXES[to]}"
        progress(f"{path.name}: converting")
        convert(trained.model, whole, to, size, outputs=trained.outputs)
        fp32 = None
        if calibration is not None:
            progress(f"{path.name}: quantising")
            quantise(whole, aside, to, calibration)
            fp32 = load(whole, to)
        progress(f"{path.name}: comparing")
        program = load(aside, to)
        found = check(trained.model, program, size, trained.in_chans, pictures, fp32, trained.paired)
        problem = found.problem(int8=calibration is not None, min_agreement=min_agreement)
        if problem is None:
            write_sidecar(aside, replace(sidecar, files=hashes(aside, to), checked=asdict(found)))
            for file in parts(aside, to):
                _flush(file)
            # The sidecar last: until it is there, the files are refused.
            for file in (*parts(aside, to), sidecar_path(aside)):
                file.replace(path.parent / file.name)
            flush_folder(path.parent)
    return Export(path, parts(path, to), found, problem)


def _refuse_to_replace(path: Path, trained: Trained) -> None:
    """Raise UserError where another model's export lies."""
    try:
        source = read_sidecar(path).source
    except UserError:
        return  # nothing that could be used
    if source != trained.opened.source:
        raise UserError(f"{path} is the export of {source}; give another folder with --out, or remove it")


def _sidecar(trained: Trained, to: Format, *, int8: bool) -> Sidecar:
    """Without what is known only when there is a file."""
    return Sidecar(
        format=to,
        task=trained.task,
        name=trained.opened.name,
        size=trained.size,
        int8=int8,
        in_chans=trained.in_chans,
        classes=trained.classes,
        palette=trained.palette,
        preprocessing=as_dict(trained.opened.preprocessing),
        settings=trained.settings,
        files={},
        software=versions() | {name: version(name) for name in packages_of(to, int8=int8)},
        source=trained.opened.source,
        checked={},
    )


def _flush(file: Path) -> None:
    """To the disk, before it takes its name."""
    with file.open("rb") as content:
        os.fsync(content.fileno())
