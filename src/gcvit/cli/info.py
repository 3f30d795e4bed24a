"""`gcvit info`: lists the models, or describes one, without fetching any weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from gcvit.cli.arguments import parse
from gcvit.cli.output import facts, next_steps, say, table
from gcvit.errors import UserError
from gcvit.export.formats import BACKBONE, CODE
from gcvit.model.config import STAGES, GCViTConfig, Pair, sides
from gcvit.model.variants import VARIANTS
from gcvit.tasks.classify import CLASSIFY
from gcvit.weights.catalogue import CATALOGUE, CatalogueEntry, default_entry
from gcvit.weights.resolve import resolve
from gcvit.wording import by, classes_named, count, plural

if TYPE_CHECKING:
    from torch import nn

    from gcvit.model.gcvit import GCViT
    from gcvit.tasks.task import Task

Facts = list[tuple[str, str]]


@dataclass(frozen=True)
class Info:
    """Describe a model: its cost, its windows, and where its weights come from."""

    model: Positional[str | None] = None
    """a model's name, a run's folder, a checkpoint file, a model's folder or a file of `gcvit export`; left out: list
    all models"""
    size: str | None = None
    """side of the image in pixels to choose windows for, or HEIGHTxWIDTH, at least 32; none: the model's own"""


def run(argv: Sequence[str]) -> None:
    """Print the list or the description."""
    arguments = parse(Info, "info", argv)
    source, size = arguments.model, None if arguments.size is None else sides(arguments.size)
    if source is None:
        _list(size)
    elif not Path(source).exists() and source in (*CATALOGUE, *VARIANTS):
        _published(source, size)
    elif resolve(source).kind == "exported file":
        _exported(Path(source), size)
    else:
        _trained(source, size)


def _list(size: Pair | None) -> None:
    from gcvit.bench.cost import parameters

    rows = []
    for name in VARIANTS:
        model = _without_weights(name, size)
        entry = default_entry(name)
        top1 = "–" if entry is None else f"{entry.top1:.1f}%"
        rows.append([name, count(parameters(model)), by(model.config.img_size), top1])
    table(["model", ">parameters", ">image", ">top-1"], rows)
    say("\ntop-1: ImageNet-1K accuracy of NVlabs' weights, as published")
    next_steps(["gcvit", "info", "gcvit_tiny"], ["gcvit", "predict", "gcvit_tiny", "photo.jpg"])


def _published(source: str, size: Pair | None) -> None:
    """A variant, or a row of the catalogue, whose weights are not fetched for it."""
    entry = CATALOGUE.get(source) or default_entry(source)
    name = source if entry is None else entry.model
    model = _without_weights(name, size)
    config = model.config
    lines = [*_cost(name, model, config), ("output", plural(config.num_classes, "class", "es"))]
    weights = [*CLASSIFY.prepared(entry.preprocessing), *_origin(entry)] if entry else [("weights", "none published")]
    facts([*lines, *weights])
    _stages(config)
    if entry is None:
        next_steps(["gcvit", "train", "classify", "--model", name])
    else:
        next_steps(["gcvit", "predict", source, "photo.jpg"], ["gcvit", "eval", source, "--data", "IMAGENET"])


def _trained(source: str, size: Pair | None) -> None:
    from gcvit.opening import open as open_model
    from gcvit.tasks.backbone import backbone_of

    opened = open_model(source)
    backbone = backbone_of(opened.model)
    if size is not None:
        backbone.set_input_size(size)
    config, task = backbone.config, opened.task
    facts(
        [
            ("task", f"{task.name}: {task.does}"),
            *_cost(f"{task.kind} {opened.name}".strip(), task.counted(opened.model), config),
            ("output", task.output(opened)),
            *task.prepared(opened.preprocessing),
            *(_origin(opened.entry) if opened.entry else []),
        ]
    )
    _stages(config)
    next_steps(
        ["gcvit", "predict", Path(source), "photo.jpg"],
        ["gcvit", "eval", Path(source), *([] if _is_of_a_run(source, task) else ["--data", "YOUR_IMAGES"])],
        ["gcvit", "export", Path(source), "--to", "onnx"],
    )


def _is_of_a_run(source: str, task: Task) -> bool:
    """Whether `gcvit eval` knows what to measure it on."""
    from gcvit.tasks.runs import run_of

    try:
        return run_of(source, task) is not None
    except UserError:
        return False


def _exported(path: Path, size: Pair | None) -> None:
    if size is not None:
        raise UserError(f"--size: {path} takes one size; leave it out")
    from gcvit.export.sidecar import read_sidecar

    sidecar = read_sidecar(path)
    facts(
        [
            ("task", sidecar.task),
            ("model", sidecar.name),
            ("format", f"{sidecar.format}{', int8' if sidecar.int8 else ''}"),
            ("input", f"{sidecar.in_chans} × {by(sidecar.size)} px"),
            *([("output", classes_named(sidecar.classes))] if sidecar.classes else []),
            ("made of", sidecar.source),
            ("made with", ", ".join(f"{name} {version}" for name, version in sidecar.software.items())),
        ]
    )
    if sidecar.task != BACKBONE:
        next_steps(["gcvit", "predict", path, "photo.jpg", *(["--trust-code"] if sidecar.format in CODE else [])])


def _cost(name: str, model: nn.Module, config: GCViTConfig) -> Facts:
    from gcvit.bench.cost import macs, parameters

    size = config.img_size
    return [
        ("model", name),
        *([("design", f"{'; '.join(config.design)} (the paper's otherwise)")] if config.design else []),
        ("parameters", f"{count(parameters(model))} ({parameters(model):,})"),
        ("MACs", f"{count(macs(model, size, in_chans=config.in_chans))} for one image of {by(size)}"),
    ]


def _stages(config: GCViTConfig) -> None:
    table(
        ["stage", ">map", ">window", ">windows", ">poolings", ">blocks", ">heads", ">channels"],
        [_stage(config, stage) for stage in range(STAGES)],
    )


def _stage(config: GCViTConfig, stage: int) -> list[str]:
    (rows, columns), window = config.map_sizes[stage], config.stage_windows[stage]
    cut = (-(-rows // window[0]), -(-columns // window[1]))
    numbers = (config.poolings[stage], config.depths[stage], config.heads[stage], config.channels[stage])
    return [str(stage + 1), by((rows, columns)), by(window), by(cut), *map(str, numbers)]


def _origin(entry: CatalogueEntry) -> Facts:
    return [
        ("weights", entry.url),
        ("trained on", entry.trained_on),
        ("top-1", f"{entry.top1:.1f}% on ImageNet-1K, as published"),
        ("licence", entry.licence),
    ]


def _without_weights(name: str, size: Pair | None) -> GCViT:
    """The model on torch's meta device: shapes without numbers, at once even for the largest."""
    import torch

    from gcvit.factory import create_model

    with torch.device("meta"):
        return create_model(name, img_size=size)
