"""`gcvit info`: lists the models, or describes one, without fetching any weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tyro.conf import Positional

from gcvit.bench.cost import macs, parameters
from gcvit.cli.arguments import parse
from gcvit.cli.output import count, facts, next_steps, say, table
from gcvit.factory import create_model, list_models, open_model
from gcvit.model.config import STAGES, GCViTConfig, Pair
from gcvit.model.gcvit import GCViT
from gcvit.tasks.sources import checkpoint_path
from gcvit.weights.catalogue import CATALOGUE, CatalogueEntry, default_entry
from gcvit.weights.preprocessing import Preprocessing


@dataclass(frozen=True)
class Info:
    """Describe a model: its cost, its windows, and where its weights come from."""

    model: Positional[str | None] = None
    """a model's name, a checkpoint file or a hub directory; left out: list all models"""
    size: int | None = None
    """side of the image in pixels to choose windows for, at least 32; none: the model's own"""


def run(argv: Sequence[str]) -> None:
    """Print the list or the description."""
    arguments = parse(Info, "info", argv)
    if arguments.model is None:
        _list(arguments.size)
    else:
        _describe(arguments.model, arguments.size)


def _list(size: int | None) -> None:
    rows = []
    for name in list_models():
        model = _without_weights(name, size)
        entry = default_entry(name)
        top1 = "–" if entry is None else f"{entry.top1:.1f}%"
        rows.append([name, count(parameters(model)), by(model.config.img_size), top1])
    table(["model", ">parameters", ">image", ">top-1"], rows)
    say("\ntop-1: ImageNet-1K accuracy of NVlabs' weights, as published")
    next_steps(["gcvit", "info", "gcvit_tiny"], ["gcvit", "predict", "gcvit_tiny", "photo.jpg"])


def _describe(source: str, size: int | None) -> None:
    published = CATALOGUE.get(source)
    preprocessing: Preprocessing | None = None
    labels: list[str] | None = None
    if not Path(source).exists() and (published is not None or source in list_models()):
        name = source if published is None else published.model
        model = _without_weights(name, size)
        entry = published or default_entry(name)
    else:
        opened = open_model(checkpoint_path(source))
        name, model, entry = opened.name, opened.model, opened.entry
        preprocessing, labels = opened.preprocessing, opened.labels
        if size is not None:
            model.set_input_size(size)

    config = model.config
    lines = [
        ("model", name),
        ("parameters", f"{count(parameters(model))} ({parameters(model):,})"),
        ("MACs", f"{count(macs(model, config.img_size))} for one image of {by(config.img_size)}"),
        ("output", _output(config, labels)),
    ]
    if preprocessing := preprocessing or (entry.preprocessing if entry else None):
        lines += _prepared(preprocessing)
    lines += _origin(entry) if entry else [("weights", "none published")] if preprocessing is None else []
    facts(lines)
    table(
        ["stage", ">map", ">window", ">windows", ">poolings", ">blocks", ">heads", ">channels"],
        [_stage(config, stage) for stage in range(STAGES)],
    )
    if preprocessing is None:
        next_steps(["gcvit", "train", "classify", "--model", name])
    else:
        next_steps(["gcvit", "predict", source, "photo.jpg"], ["gcvit", "eval", "classify", source, "--help"])


def _without_weights(name: str, size: int | None) -> GCViT:
    """The model on torch's meta device: shapes without numbers, at once even for the largest."""
    with torch.device("meta"):
        return create_model(name, img_size=size)


def _stage(config: GCViTConfig, stage: int) -> list[str]:
    (rows, columns), window = config.map_sizes[stage], config.stage_windows[stage]
    cut = (-(-rows // window[0]), -(-columns // window[1]))
    numbers = (config.poolings[stage], config.depths[stage], config.heads[stage], config.channels[stage])
    return [str(stage + 1), by((rows, columns)), by(window), by(cut), *map(str, numbers)]


def _output(config: GCViTConfig, labels: list[str] | None) -> str:
    if not config.head:
        return "none: a backbone, four maps"
    if not config.num_classes:
        return f"{config.channels[-1]} features"
    if not labels:
        return f"{config.num_classes} classes"
    return f"{config.num_classes} classes: {', '.join(labels[:8])}{', …' if len(labels) > 8 else ''}"


def _prepared(preprocessing: Preprocessing) -> list[tuple[str, str]]:
    how = {"center": "short side fitted", "squash": "both sides fitted"}.get(preprocessing.crop_mode, "padded")
    share = f"middle {100 * preprocessing.crop_pct:g}% kept"
    return [
        ("input", f"{by(preprocessing.size)} px, {preprocessing.interpolation}, {how}, {share}"),
        ("normalised", f"mean {_numbers(preprocessing.mean)}, std {_numbers(preprocessing.std)}"),
    ]


def _origin(entry: CatalogueEntry) -> list[tuple[str, str]]:
    return [
        ("weights", entry.url),
        ("trained on", entry.trained_on),
        ("top-1", f"{entry.top1:.1f}% on ImageNet-1K, as published"),
        ("licence", entry.licence),
    ]


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)


def by(size: Pair) -> str:
    """(height, width) → "224×224"."""
    return f"{size[0]}×{size[1]}"
