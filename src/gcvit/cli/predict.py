"""`gcvit predict MODEL IMAGES…`: what a model says of images, thousands of them if need be."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional

from gcvit.cli.arguments import ReadsPictures, checked, leading, open_to_answer
from gcvit.cli.output import complain, next_steps, say
from gcvit.engine.fields import Range
from gcvit.engine.settings import Precision
from gcvit.errors import UserError
from gcvit.files import require_folder, write_json
from gcvit.model.config import sides
from gcvit.weights.resolve import resolve
from gcvit.wording import harmless

if TYPE_CHECKING:
    from gcvit.tasks.opened import Answer

ARCHIVES = (".tar", ".tgz", ".gz", ".zip")
OUT = Path("predicted")


@dataclass(frozen=True)
class Predict(ReadsPictures):
    """Say what a model sees in images, one line each; pictures of it go to --out.

    For each image the folder OUT gets the picture with what is said of it and NAME.json; images of several folders keep
    these.
    """

    model: Positional[str]
    """a run's folder (its best weights), a model's folder, a checkpoint file, a file of `gcvit export`, or a model's
    name (its published weights are fetched)"""
    images: Positional[tuple[Path, ...]]
    """image files, and folders that are searched for images"""
    out: Path | None = None
    """folder for the results; none: nothing is saved by a classifier, `predicted` for other tasks"""
    json: bool = False
    """print one JSON object a line; images that cannot be read have an "error" """
    size: str | None = None
    """side of the model's input in pixels, or HEIGHTxWIDTH; none: the model's own; exported files have one size"""
    batch_size: Annotated[int | None, Range(1, 65_536)] = None
    """images computed at once; none: what suits the task"""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda or cuda:1; exported files run on the cpu"""
    precision: Precision = "auto"
    """auto: bf16 on a GPU that has it, fp32 elsewhere; exported files compute in what they were exported in"""
    trust_code: bool = False
    """run the code in a .pt2 or .aot.pt2 file: only if you trust whoever made it"""


def run(argv: Sequence[str]) -> int:
    """Show answers as they come; 1 when an image could not be read, after all the others."""
    read = checked(Predict, "predict", argv, "looks", "telling")
    model = resolve(leading(argv)[0] if read is None else read.model)
    from gcvit.tasks.opened import Failure

    opened, arguments, how = open_to_answer(Predict, "predict", argv, model)
    if arguments.size is not None:
        opened = opened.resized(sides(arguments.size))
    if opened.exported and arguments.precision == "bf16":
        raise UserError(f"--precision bf16: {arguments.model} computes in what it was exported in; leave it out")
    out = arguments.out if arguments.out is not None or not opened.task.saves_answers else OUT
    files = find_images(arguments.images, out)
    names = {}
    if out is not None:
        names = result_names(files, out)
        require_folder(out)

    answers = opened.answers(files, batch_size=arguments.batch_size, **how)
    width = min(max(len(harmless(str(file), keep="")) for file in files), 40)
    unreadable = 0
    for file, answer in zip(files, answers, strict=True):
        if isinstance(answer, Failure):
            unreadable += 1
            if arguments.json:
                say(json.dumps({"file": str(file), "error": answer.error}))
            complain(answer.error)
            continue
        told = answer.to_dict() if out is None else _save(answer, names[file])
        say(json.dumps(told) if arguments.json else f"{_shortened(file, width)}  {answer.line()}")
    if unreadable:
        complain(f"{unreadable} of {len(files)} images could not be read; see the messages above")
        return 1
    if not arguments.json:
        if out is not None:
            say(f"\nresults: {out}")
        saved: list[object] = [] if out is None else ["--out", out]
        trust = ["--trust-code"] if arguments.trust_code else []
        again = ["gcvit", "predict", Path(arguments.model), *arguments.images[:1], *saved, *trust, "--json"]
        next_steps(again, *([] if opened.exported else [["gcvit", "info", Path(arguments.model)]]))
    return 0


def find_images(paths: Sequence[Path], out: Path | None) -> list[Path]:
    """The images at `paths`, each once; results of an earlier call in a folder that is searched are none.

    A file that is no image is not refused here: it is reported in its turn. Raises UserError, saying what to do, for
    what holds images but is neither file nor folder, and where results would lie among the images.
    """
    from gcvit.data.images import list_images

    found: dict[str, Path] = {}
    for path in paths:
        if re.match(r"https?:/", str(path)):
            raise UserError(f"{path} is an address; download the image and give its file")
        for place in (path, *path.parents):
            if place.suffix in ARCHIVES and place.is_file():
                raise UserError(f"{place} is an archive; unpack it, and give the folder with its images")
        results = out.resolve() if out is not None and path.is_dir() else None
        if results and path.resolve() == results:
            raise UserError(f"--out {out} is the folder with the images; give another one for the results")
        for file in list_images(path):
            if results is None or not file.resolve().is_relative_to(results):
                found.setdefault(os.path.abspath(file), file)
    if not found:
        raise UserError("name at least one image, or a folder of images, after the model")
    return list(found.values())


def result_names(files: Sequence[Path], out: Path) -> dict[Path, Path]:
    """For each file the path in `out` that its results' names begin with, each another one.

    Files of several folders keep what their paths differ in; two names that differ in their endings only keep these.
    Raises UserError where results would take the place of an image.
    """
    absolute = [Path(os.path.abspath(file)) for file in files]
    common = os.path.commonpath([file.parent for file in absolute])
    names = [file.relative_to(common) for file in absolute]
    bare = [name.with_suffix("") for name in names]
    chosen = bare if len(set(bare)) == len(bare) else names
    stems = [out / name for name in chosen]
    places = {parent: parent.resolve() for parent in {stem.parent for stem in stems}}
    images = {
        (path.parent, beginning): path
        for path in (file.resolve() for file in files)
        for beginning in accumulate(path.name.split(".")[:-1], "{}.{}".format)
    }
    for stem in stems:
        if path := images.get((places[stem.parent], stem.name)):
            raise UserError(f"{path} is one of the images and might be overwritten; give another --out")
    return dict(zip(files, stems, strict=True))


def _save(answer: Answer, stem: Path) -> dict[str, Any]:
    """Write an answer's pictures and its JSON; returns what that holds."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    told = answer.to_dict() | answer.save(stem)
    write_json(Path(f"{stem}.json"), told)
    return told


def _shortened(file: Path, width: int) -> str:
    name = harmless(str(file), keep="")
    return "…" + name[1 - width :] if sys.stdout.isatty() and len(name) > width else f"{name:{width}}"
