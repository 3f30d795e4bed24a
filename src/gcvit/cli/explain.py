"""`gcvit explain MODEL IMAGES…`: what a model looks at, as figures and arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from gcvit.cli.arguments import ReadsPictures, parse
from gcvit.cli.output import complain, counter, next_steps, say, table, track
from gcvit.cli.predict import find_images, result_names
from gcvit.engine.fields import Range
from gcvit.errors import UserError, require
from gcvit.explain.settings import Cam, Choice, Format, Shown
from gcvit.files import require_folder, write_json
from gcvit.model.config import LARGEST_SIDE, Pair, sides
from gcvit.weights.resolve import resolve

if TYPE_CHECKING:
    from torch import nn

    from gcvit.explain.maps import Maps
    from gcvit.tasks.opened import Opened

ON_A_PAGE = 8  # pictures in one figure


@dataclass(frozen=True)
class Explain(ReadsPictures):
    """Show what a model looks at in images: global attention and Grad-CAM as in the paper's Figure 7, global queries as
    in its Figure S.1, and all arrays.

    OUT gets explained.png, queries.png, query-channels.png and, for each image, NAME.npz. docs/explain.md says what the
    maps are. Stages, blocks, heads and channels are counted from 0.
    """

    model: Positional[str]
    """a run's folder (its best weights), a model's folder, a checkpoint file or a model's name; no exported file"""
    images: Positional[tuple[Path, ...]]
    """image files, and folders that are searched for images"""
    out: Path = Path("explained")
    """folder for the results"""
    format: Format = "png"
    """kind of the figures' files"""
    stage: Annotated[int | None, Range(0, 1_000)] = None
    """of the attention; none: the last one that has several windows, and the next"""
    block: Annotated[int | None, Range(0, 1_000)] = None
    """of the stage; none: its last global one"""
    head: Annotated[int | None, Range(0, 1_000)] = None
    """none: the mean of all"""
    token: Annotated[tuple[float, float] | None, Range(0, LARGEST_SIDE)] = None
    """X Y in pixels of the image as the model sees it: what this place's query token finds; none: the mean of all"""
    map: Shown = "image"
    """image: one softmax over the picture; window: one in each window, as computed; norm: the length of what is added
    to a token; rollout, class-rollout: along values through all stages"""
    cls: Annotated[str | None, arg(name="class")] = None
    """the class that Grad-CAM asks about, or the number of a detector's object; none: the likeliest"""
    cam: Cam = "element-wise"
    """the class map at the attention's stage; eigen-cam asks for no class"""
    size: str | None = None
    """side of the model's input in pixels, or HEIGHTxWIDTH; none: the model's own"""
    report_card: bool = False
    """also grade the maps on built-in scenes, whose truth is known; the model must know their classes"""
    reach: bool = False
    """also measure how far each block reaches in these images, over depth; OUT gets reach.png and reach.npz"""
    beside: tuple[str, ...] = ("timm/swin_tiny_patch4_window7_224", "timm/convnext_tiny")
    """with --reach, other models, with random weights: timm/NAME, any of timm's, or one of ours; this one with random
    weights is always there"""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda or cuda:1"""


def run(argv: Sequence[str]) -> int:
    """Draw and write; 1 when an image could not be read, or nothing is found in it, after all the others."""
    arguments = parse(Explain, "explain", argv)
    model = resolve(arguments.model)
    from gcvit.data.images import ImageError
    from gcvit.engine.device import resolve_device
    from gcvit.explain.looking import look, require_visible
    from gcvit.explain.maps import maps_of
    from gcvit.opening import open as open_model
    from gcvit.tasks.target import NothingFound

    opened = open_model(model)
    require_visible(opened)
    opened.model.to(resolve_device(arguments.device))
    if arguments.size is not None:
        opened = opened.resized(sides(arguments.size))
    files = find_images(arguments.images, arguments.out)
    names = result_names(files, arguments.out)
    require_folder(arguments.out)
    others = beside(opened, arguments.beside, files) if arguments.reach else {}
    target = int(arguments.cls) if arguments.cls is not None and arguments.cls.isdecimal() else arguments.cls
    choice = Choice(
        arguments.stage, arguments.block, arguments.head, arguments.token, arguments.map, target, arguments.cam
    )
    found: dict[Path, Maps] = {}
    width = min(max(len(str(file)) for file in files), 40)
    for file in track(files, "looking"):
        try:
            found[file] = maps_of(look(opened, file), choice)
        except (ImageError, NothingFound) as error:
            complain(str(error) if isinstance(error, ImageError) else f"{file}: {error}")
            continue
        stem = names[file]
        stem.parent.mkdir(parents=True, exist_ok=True)
        found[file].save(Path(f"{stem}.npz"))
        say(f"{file!s:{width}}  {found[file].line()}")
    if found:
        paths = write_figures(found, choice, arguments.out, arguments.format)
        say()
        for path in paths:
            say(f"figure: {path}")
        say(f"arrays: {arguments.out}/…npz")
    if arguments.reach and found:
        reaching(opened, list(found), others, arguments.out, arguments.format)
    if arguments.report_card:
        grade(opened, arguments.out)
    if missing := len(files) - len(found):
        complain(f"{missing} of {len(files)} images could not be shown; see the messages above")
        return 1
    next_steps(_next(arguments, found))
    return 0


def grade(opened: Opened, out: Path) -> None:
    """Make the report card, show it and write it as JSON."""
    from gcvit.explain.report_card import report_card
    from gcvit.explain.report_card import table as grades_table

    with counter("grading the maps on built-in scenes") as progress:
        grades = report_card(opened, progress=progress)
    table(*grades_table(grades))
    path = out / "report-card.json"
    write_json(path, {title: asdict(found) for title, found in grades.items()})
    say(f"report card: {path}")


def beside(opened: Opened, names: Sequence[str], files: Sequence[Path]) -> dict[str, nn.Module]:
    """The model itself and others, with random weights, by what they are called.

    Raises UserError for other models that cannot be given what the model sees in these files.
    """
    from gcvit.bench.building import build, fill
    from gcvit.bench.contenders import parse as contender
    from gcvit.tasks.backbone import backbone_of

    backbone = backbone_of(opened.model)
    chosen = [contender(name) for name in names]
    others: dict[str, nn.Module] = {f"{opened.name}, random weights": deepcopy(backbone)}
    for one in chosen:
        plain = (one.ours or one.from_timm) and not one.forms and one.name != opened.name
        require(plain, "--beside", str(one), "another model of ours or timm's, without forms")
    if chosen and (sizes := set(_sizes(opened, files))):
        if len(sizes) > 1 or backbone.config.in_chans != 3:
            raise UserError(
                "--beside compares on RGB pictures that go through the model at one size; give such alone, "
                "or --beside without names"
            )
        for one, model in zip(chosen, build(chosen, *sizes, same_weights=False), strict=True):
            others[f"{one.name}, random weights"] = model
    for model in others.values():
        fill(model)
        model.to(next(backbone.parameters()).device)
    return others


def _sizes(opened: Opened, files: Sequence[Path]) -> Iterator[Pair]:
    """At which the model sees those that can be read."""
    from gcvit.data.images import ImageError
    from gcvit.explain.looking import look

    for file in files:
        with suppress(ImageError):
            yield look(opened, file).size


def reaching(opened: Opened, files: list[Path], others: dict[str, nn.Module], out: Path, kind: Format) -> None:
    """Measure how far blocks reach, of the model and of others; show, draw and write it."""
    from gcvit.engine.figures import save_figure
    from gcvit.explain.figures import draw_reach
    from gcvit.explain.reach import measure_reach, save_reach
    from gcvit.explain.reach import table as reach_table

    with counter("measuring how far blocks reach") as progress:
        found = measure_reach(opened, files, others, progress=progress)
    table(*reach_table(found))
    paths = out / f"reach.{kind}", out / "reach.npz"
    save_figure(draw_reach(found), paths[0], dpi=200)
    save_reach(found, paths[1])
    say(f"figure: {paths[0]}")
    say(f"arrays: {paths[1]}")


def write_figures(found: dict[Path, Maps], choice: Choice, out: Path, kind: Format) -> list[Path]:
    """A page of figures for every so many pictures; returns the files."""
    import torch

    from gcvit.engine.figures import save_figure
    from gcvit.explain.figures import Column, Row, draw_channels, draw_components, draw_maps
    from gcvit.explain.maps import principal_components

    components = []
    for stage in range(len(next(iter(found.values())).queries)):
        queries = [torch.from_numpy(maps.queries[stage]) for maps in found.values()]
        components.append([part.numpy() for part in principal_components(queries)])
    files, paths = list(found), []
    for first in range(0, len(files), ON_A_PAGE):
        page = "" if len(files) <= ON_A_PAGE else f"-{1 + first // ON_A_PAGE}"
        shown = [found[file] for file in files[first : first + ON_A_PAGE]]
        rows = [Row(maps.picture, _caption(maps), choice.place, maps.box) for maps in shown]
        columns = [Column(title, [maps.maps[title] for maps in shown]) for title in shown[0].maps]
        stage = shown[0].stage
        figures = {"explained": draw_maps(rows, columns)}
        if components:
            figures["queries"] = draw_components(rows, [part[first : first + ON_A_PAGE] for part in components])
            figures["query-channels"] = draw_channels(rows, [maps.queries[stage] for maps in shown], stage)
        for name, figure in figures.items():
            paths.append(out / f"{name}{page}.{kind}")
            save_figure(figure, paths[-1], dpi=200)
    return paths


def _caption(maps: Maps) -> str:
    name, confidence = maps.told[0]
    said = f"{name} {confidence:.0%}"
    return said if maps.target == name else f"{said}; asked: {maps.target}"


def _next(arguments: Explain, found: dict[Path, Maps]) -> list[object]:
    """The same picture with another question."""
    file = next(iter(found))
    told = found[file].told
    height, width = found[file].picture.shape[:2]
    asked = ["--class", told[1][0]] if len(told) > 1 and arguments.cls is None else []
    again = ["gcvit", "explain", Path(arguments.model), file, "--out", arguments.out]
    return [*again, "--token", width // 3, height // 3, *asked]
