"""`gcvit export`: trained models as files for other runtimes, each compared with its model before it is kept."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional

from gcvit.cli.arguments import ReadsPictures, parse
from gcvit.cli.output import complain, facts, next_steps, say, status, table
from gcvit.cli.predict import find_images
from gcvit.engine.fields import Range
from gcvit.errors import UserError
from gcvit.export.formats import BACKBONE, CODE, Format, Part
from gcvit.files import require_folder
from gcvit.model.config import Pair, sides
from gcvit.wording import percent

if TYPE_CHECKING:
    from torch import Tensor

    from gcvit.export.check import Check
    from gcvit.export.trained import Trained
    from gcvit.export.writing import Export

BATCH = 8  # pictures that are computed at once
DRAWN = 16  # built-in pictures to compare on where none are given


@dataclass(frozen=True)
class ExportModel(ReadsPictures):
    """Write a model as a file of another runtime, with a sidecar (.json) for `gcvit predict`.

    Each file takes batches of any number of images of one size. It is run and compared with the model in PyTorch, on
    noise and on pictures, and kept only where it agrees.
    """

    model: Positional[str]
    """a model's name (its published weights are fetched), a checkpoint file, a hub directory, or a run's folder"""
    to: Format
    """torch-export (.pt2), onnx, openvino (.xml and .bin), or aot (.aot.pt2: compiled for this machine)"""
    size: tuple[str, ...] = ()
    """sides in pixels, such as 224, or HEIGHTxWIDTH, a file for each; none given: the checkpoint's own"""
    part: Part = "model"
    """model: logits; backbone: the pyramid's four maps"""
    int8: bool = False
    """weights and activations in 8 bits (onnx, openvino), calibrated on pictures"""
    calibration: Path | None = None
    """for int8: a folder of pictures like those to come; labels are not needed"""
    calibration_images: Annotated[int, Range(1, 10**6)] = 128
    """how many of them to take, spread evenly"""
    images: Path | None = None
    """a folder of pictures to compare on as well; none: those of the calibration, or built-in ones"""
    check_images: Annotated[int, Range(1, 10**6)] = 128
    """how many of them to take, spread evenly"""
    out: Path = Path("exported")
    """folder for the files"""
    min_agreement: Annotated[float, Range(0, 1, said="a share, from 0 to 1")] = 0.95
    """for int8: the share of the pictures (of their pixels, in segmentation) that must keep their likeliest class, 0 to
    1; of a backbone the cosine between its maps and int8's"""


def run(argv: Sequence[str]) -> int:
    """Write the files; 1 when one disagreed with its model and was not kept."""
    arguments = parse(ExportModel, "export", argv)
    sizes = _check(arguments)
    calibration = _some(arguments.calibration, arguments.calibration_images) if arguments.int8 else []
    pictures = _some(arguments.images, arguments.check_images)
    from gcvit.export.trained import as_exported
    from gcvit.export.writing import require_packages
    from gcvit.opening import open as open_model

    require_packages(arguments.to, int8=arguments.int8)
    with status() as progress:
        progress(f"opening {arguments.model}")
        trained = as_exported(open_model(arguments.model), arguments.part)
    exports = []
    for size in sizes or [trained.size]:
        export = _export(arguments, trained.resized(size), calibration, pictures)
        _show(export, trained)
        exports.append(export)
    written = [export for export in exports if export.problem is None]
    if written and arguments.part == "model":
        trust = ["--trust-code"] if arguments.to in CODE else []
        next_steps(["gcvit", "predict", written[0].path, "photo.jpg", *trust])
    return int(len(written) < len(exports))


def _check(arguments: ExportModel) -> list[Pair]:
    """The sizes. Raises UserError for what cannot be, before anything is opened."""
    sizes = list(dict.fromkeys(sides(size) for size in arguments.size))
    if arguments.int8 and arguments.calibration is None:
        raise UserError("--int8 needs --calibration FOLDER: pictures like those that the model will see")
    if arguments.calibration is not None and not arguments.int8:
        raise UserError("--calibration is for int8; add --int8, or give the folder as --images")
    require_folder(arguments.out)
    return sizes


def _some(folder: Path | None, count: int) -> list[Path]:
    """Up to `count` of the pictures in a folder, spread evenly: of folders of classes some of each."""
    files = [] if folder is None else find_images([folder], None)
    count = min(count, len(files))
    return [files[index * len(files) // count] for index in range(count)]


def _export(arguments: ExportModel, trained: Trained, calibration: list[Path], pictures: list[Path]) -> Export:
    from gcvit.data.shapes import BUILT_IN_PIXELS
    from gcvit.export.writing import export_path, write_export

    path = export_path(arguments.out, trained, arguments.to, int8=arguments.int8)
    with status() as progress:
        progress(f"{path.name}: reading pictures")
        quantised_on = list(_batches(calibration, trained)) if calibration else None
        compared_on = {}
        if pictures:
            folder = os.fsencode(arguments.images or "").decode(errors="replace")  # a sidecar is UTF-8
            compared_on[f"--images {folder}"] = _batches(pictures, trained)
        if quantised_on is not None:
            compared_on["calibration pictures"] = iter(quantised_on)
        if not compared_on and trained.opened.pixels in BUILT_IN_PIXELS:
            compared_on["built-in pictures"] = _built_in(trained)
        return write_export(
            trained,
            path,
            arguments.to,
            calibration=quantised_on,
            pictures=compared_on,
            min_agreement=arguments.min_agreement,
            progress=progress,
        )


def _batches(files: list[Path], trained: Trained) -> Iterator[Tensor]:
    """The pictures as the model wants them; those that cannot be read are told and left out.

    Raises UserError when none can be read."""
    import torch

    from gcvit.tasks.opened import Failure, read_ahead

    read = 0
    for batch in read_ahead(files, trained.opened.pixels, trained.transform(), BATCH):
        for item in batch:
            if isinstance(item, Failure):
                complain(f"left out: {item.error}")
        images = [item.image for item in batch if not isinstance(item, Failure)]
        read += len(images)
        if images:
            yield torch.stack(images)
    if not read:
        raise UserError(f"none of {len(files)} pictures could be read, such as {files[0]}")


def _built_in(trained: Trained) -> Iterator[Tensor]:
    import torch

    from gcvit.data.shapes import ShapesDataset

    dataset = ShapesDataset("val", DRAWN, trained.size, trained.transform()).with_pixels(trained.opened.pixels)
    for start in range(0, DRAWN, BATCH):
        yield torch.stack([dataset[index][0] for index in range(start, min(start + BATCH, DRAWN))])


def _show(export: Export, trained: Trained) -> None:
    from gcvit.export.sidecar import sidecar_path

    _tables(export.check, "same class" if trained.task != BACKBONE and not trained.outputs else "cosine")
    if export.problem is not None:
        complain(f"{export.path} was not written: {export.problem}")
        return
    say()
    megabytes = sum(file.stat().st_size for file in export.files) / 1e6
    facts([("written", str(export.path)), ("size", f"{megabytes:.1f} MB"), ("sidecar", str(sidecar_path(export.path)))])
    if slower := export.check.slower_int8():
        say(f"int8 is slower than fp32 on this processor ({slower}); without --int8 the file is faster, and exact")


def _tables(found: Check, same: str) -> None:
    rows = [
        [
            row.images,
            str(row.count),
            str(row.batch),
            f"{row.largest:.1e}",
            f"{row.relative:.1e}",
            percent(row.agreement),
        ]
        for row in found.differences
    ]
    table(["difference on", ">images", ">batch", ">largest", ">relative", f">{same}"], rows)
    columns = [">batch", ">PyTorch, ms", ">export, ms", ">times as fast"]
    speeds = [
        [str(row.batch), f"{row.model_ms:.1f}", f"{row.export_ms:.1f}", f"{row.model_ms / row.export_ms:.2f}"]
        for row in found.speeds
    ]
    if quantised := [row.fp32_ms for row in found.speeds if row.fp32_ms is not None]:
        columns.insert(3, ">in fp32, ms")
        for cells, fp32_ms in zip(speeds, quantised, strict=True):
            cells.insert(3, f"{fp32_ms:.1f}")
    table(columns, speeds)
