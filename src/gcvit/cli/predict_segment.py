"""`gcvit predict segment`: colours pictures by what every pixel is, and writes the labels and the classes' shares."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tyro.conf import Positional

from gcvit.cli.arguments import parse
from gcvit.cli.inputs import find_files, read_ahead
from gcvit.cli.output import complain, next_steps, percent, say
from gcvit.data.images import ImageError
from gcvit.data.label_maps import write_labels
from gcvit.data.segment_transforms import EvalScene
from gcvit.engine.device import Precision, autocast, resolve_device
from gcvit.export.opening import exported_device, is_exported, open_exported_segmenter
from gcvit.files import write_atomically
from gcvit.tasks.segment.inference import Looks, Mode, segment_pixels
from gcvit.tasks.segment.pictures import class_shares, overlay
from gcvit.tasks.segment.saving import OpenedSegmenter, open_segmenter

AHEAD = 4  # pictures that are read while others are computed
LARGEST = 5  # shares on a line


@dataclass(frozen=True)
class Predict:
    """Name every pixel of images: a picture with the classes' colours and a legend, label maps, and shares as JSON.

    For each image the folder OUT gets NAME.overlay.png, NAME.labels.png (a class number per pixel, as a palette) and
    NAME.json; images of several folders keep these.
    """

    model: Positional[str]
    """a model's folder, a run's folder (its best/), or a file of `gcvit export`"""
    images: Positional[tuple[Path, ...]]
    """image files, and folders that are searched for images"""
    out: Path
    """folder for the results"""
    overlay: Literal["png", "jpg"] = "png"
    """kind of file for the coloured pictures"""
    json: bool = False
    """print one JSON object a line: {"file", "size", "shares", "overlay", "labels"}"""
    mode: Mode | None = None
    """slide: in windows of the crops' size at two thirds of it, averaged where they overlap; needs less memory. none:
    whole, but slide in windows of an exported file's size, which is the largest that it takes"""
    scales: tuple[float, ...] = (1.0,)
    """sizes at which images are shown to the model, as factors; the softmax of several is averaged"""
    flip: bool = False
    """show the model the mirror images too"""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda or cuda:1; exported files run on the cpu"""
    trust_code: bool = False
    """run the code in a .pt2 or .aot.pt2 file: only if you trust whoever made it"""
    precision: Precision = "auto"
    """auto: bf16 on a GPU that has it, fp32 elsewhere; exported files compute in what they were exported in"""


class Prepared(NamedTuple):
    """A picture, and as the model is shown it, (3, height, width)."""

    picture: Image.Image
    shown: Tensor


class Segmented(NamedTuple):
    """A picture and the class of each of its pixels, (height, width) int16."""

    file: Path
    picture: Image.Image
    labels: np.ndarray


def run(argv: Sequence[str]) -> int:
    """Write and tell results as they come; 1 when an image could not be read, after all the others."""
    arguments = parse(Predict, "predict segment", argv)
    files = _find(arguments.images, arguments.out)
    if not files:
        raise ValueError("name at least one image or folder: gcvit predict segment MODEL photo.jpg --out predicted")
    names = result_names(files, arguments.out)
    _check(arguments, files, names)
    exported = is_exported(arguments.model)
    opened, device = _exported(arguments) if exported else _trained(arguments)
    mode = arguments.mode or ("slide" if exported else "whole")
    looks = Looks(mode, opened.preprocessing.crop, None, arguments.scales, arguments.flip)

    unreadable = 0
    for item in segment(opened, files, looks, device, arguments.precision):
        if isinstance(item, ImageError):
            complain(str(item))
            unreadable += 1
            continue
        told = _write(item, names[item.file], arguments.overlay, opened)
        say(json.dumps(told, ensure_ascii=False) if arguments.json else _line(told))
    if unreadable:
        complain(f"{unreadable} of {len(files)} images could not be read; see the messages above")
        return 1
    if not arguments.json:
        say(f"\nresults: {arguments.out}")
        flipped = ["predict", "segment", arguments.model, *arguments.images[:1], "--out", arguments.out, "--flip"]
        flipped += ["--trust-code"] if arguments.trust_code else []
        evaluate = ["eval", "segment", arguments.model, "--data", "YOUR_SCENES"]
        next_steps(["gcvit", *(flipped if exported else evaluate)])
    return 0


def _trained(arguments: Predict) -> tuple[OpenedSegmenter, torch.device]:
    device = resolve_device(arguments.device)
    return open_segmenter(arguments.model), device


def _exported(arguments: Predict) -> tuple[OpenedSegmenter, torch.device]:
    """An exported file. Raises ValueError for what it cannot do."""
    device = exported_device(arguments.device)
    if arguments.precision == "bf16":
        raise ValueError(f"--precision bf16: {arguments.model} computes in what it was exported in; leave it out")
    return open_exported_segmenter(arguments.model, trust_code=arguments.trust_code), device


@torch.inference_mode()
def segment(
    opened: OpenedSegmenter, files: Sequence[Path], looks: Looks, device: torch.device, precision: Precision = "auto"
) -> Iterator[Segmented | ImageError]:
    """One item for each file, in order: its labels at its own size, or why it could not be read."""
    preprocessing = opened.preprocessing
    transform = EvalScene(preprocessing.resize, preprocessing.mean, preprocessing.std)
    model = opened.model.fold().to(device).eval()
    for batch in read_ahead(files, lambda picture: Prepared(picture, transform(picture)), AHEAD):
        for file, item in batch:
            if isinstance(item, ImageError):
                yield item
                continue
            with autocast(device, precision):
                size = item.picture.height, item.picture.width
                pixels = segment_pixels(model, item.shown[None].to(device), size, looks)
            yield Segmented(file, item.picture, pixels.predicted[0].cpu().numpy())


def result_names(files: Sequence[Path], out: Path) -> dict[Path, Path]:
    """For each file the path in `out` that its results' names begin with, each another one.

    Files of several folders keep what their paths differ in; two names that differ in their endings only keep these.
    """
    absolute = [Path(os.path.abspath(file)) for file in files]
    common = os.path.commonpath([file.parent for file in absolute])
    names = [file.relative_to(common) for file in absolute]
    bare = [name.with_suffix("") for name in names]
    chosen = bare if len(set(bare)) == len(bare) else names
    return {file: out / name for file, name in zip(files, chosen, strict=True)}


def _find(paths: Sequence[Path], out: Path) -> list[Path]:
    """The images to segment, each once; results of an earlier call in a folder that is searched are none."""
    found: dict[str, Path] = {}
    for path in paths:
        if path.is_dir() and path.resolve() == out.resolve():
            raise ValueError(f"--out {out} is the folder with the images; give another one for the results")
        for file in find_files(path):
            if not (path.is_dir() and file.resolve().is_relative_to(out.resolve())):
                found.setdefault(os.path.abspath(file), file)
    return list(found.values())


def _check(arguments: Predict, files: Sequence[Path], names: dict[Path, Path]) -> None:
    """Raise ValueError where results cannot be written or would take the place of an image."""
    if arguments.out.exists() and not arguments.out.is_dir():
        raise ValueError(f"{arguments.out} is a file; give the name of a folder for the results")
    given = {file.resolve() for file in files}
    for name in names.values():
        for path in _paths(name, arguments.overlay):
            if path.resolve() in given:
                raise ValueError(f"{path} is one of the images and would be overwritten; give another --out")


def _paths(name: Path, kind: str) -> tuple[Path, Path, Path]:
    """Of the coloured picture, the labels and the shares."""
    return tuple(name.with_name(name.name + end) for end in (f".overlay.{kind}", ".labels.png", ".json"))  # type: ignore[return-value]


def _write(item: Segmented, name: Path, kind: Literal["png", "jpg"], opened: OpenedSegmenter) -> dict[str, Any]:
    """Write an image's results; returns what its JSON holds."""
    coloured, labels, told = _paths(name, kind)
    name.parent.mkdir(parents=True, exist_ok=True)
    content = BytesIO()
    picture = overlay(item.picture, item.labels, opened.classes, opened.palette)
    picture.save(content, "PNG" if kind == "png" else "JPEG", quality=92)
    write_atomically(coloured, content.getvalue())
    write_labels(labels, item.labels, opened.palette)
    shares = zip(opened.classes, class_shares(item.labels, len(opened.classes)), strict=True)
    ranked = sorted(((name, share) for name, share in shares if share), key=lambda pair: -pair[1])
    facts = {
        "file": str(item.file),
        "size": list(item.labels.shape),
        "shares": {name: float(f"{share:.6g}") for name, share in ranked},
        "overlay": str(coloured),
        "labels": str(labels),
    }
    write_atomically(told, (json.dumps(facts, indent=2) + "\n").encode())
    return facts


def _line(told: dict[str, Any]) -> str:
    """An image's largest classes."""
    shares = [f"{name} {percent(share)}" for name, share in told["shares"].items()]
    more = f", {len(shares) - LARGEST} more" if len(shares) > LARGEST else ""
    return f"{told['file']}  {', '.join(shares[:LARGEST])}{more}"
