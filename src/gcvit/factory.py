"""From a name, a directory or a file to a model with its weights."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gcvit.errors import UserError, naming
from gcvit.model import VARIANTS, GCViT, GCViTConfig
from gcvit.model.attention import table_window
from gcvit.model.config import SMALLEST_SIDE, STAGES, Pair, Windows
from gcvit.model.variants import nearest_variant
from gcvit.weights.catalogue import CATALOGUE, CatalogueEntry, default_entry
from gcvit.weights.hub import labels_of, model_config, preprocessing_of, states_windows
from gcvit.weights.loading import (
    MAP_NORMS,
    TABLE,
    Weights,
    check_described,
    check_named,
    classes_in,
    find,
    load_weights,
    ours,
)
from gcvit.weights.names import shapes_of
from gcvit.weights.preprocessing import Preprocessing
from gcvit.weights.reading import Checkpoint
from gcvit.weights.resolve import Source
from gcvit.wording import instead


def list_models() -> list[str]:
    """The names that `create_model` takes: the eleven published models and two small ones."""
    return list(VARIANTS)


def variant(name: str) -> GCViTConfig:
    """The row of a model. Raises UserError with the nearest names when there is none."""
    if name in VARIANTS:
        return VARIANTS[name]
    raise UserError(f"no model is called {name!r}; {instead(name, VARIANTS)}")


def create_model(
    name: str,
    pretrained: bool | str = False,
    *,
    num_classes: int = 1000,
    in_chans: int = 3,
    img_size: int | Pair | None = None,
    windows: Windows | None = None,
    head: bool = True,
    drop_path: float | None = None,
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
    head_dropout: float = 0.0,
) -> GCViT:
    """Build a GC ViT.

    name: one of `list_models()`. pretrained: True for the NVlabs weights, or a name of `gcvit.weights.CATALOGUE`; with
        another number of classes than 1000 the head is fresh.
    img_size: int or (height, width) in pixels, 32 at least: what windows are chosen for; None as published. Any other
        size works too.
    windows: an int, or one int or (height, width) per stage, in tokens; None for the published share of img_size.
    head: False for a backbone without final norm and head.
    drop_path: None as published; the other rates are 0..1.

    Raises UserError for an unknown name (with the near ones) or a value that does not fit, and when weights cannot be
    fetched (with what to do).
    """
    row = variant(name)
    config = replace(
        row,
        num_classes=num_classes,
        in_chans=in_chans,
        img_size=row.img_size if img_size is None else img_size,  # type: ignore[arg-type]
        windows=windows,  # type: ignore[arg-type]
        head=head,
        drop_path=row.drop_path if drop_path is None else drop_path,
        dropout=dropout,
        attention_dropout=attention_dropout,
        head_dropout=head_dropout,
    )
    entry = _entry(name, pretrained)
    checkpoint = find(Source("published name", entry.name, entry=entry)) if entry else None
    model = GCViT(config)
    if checkpoint:
        load_weights(model, checkpoint, replace_head=head and num_classes not in (0, 1000))
    return model


@dataclass(frozen=True)
class OpenedModel:
    """A trained model, ready for use, and what is known of it.

    name: its variant. preprocessing: what its images need. labels: class names in the order of the logits, if known.
    source: where it came from. entry: its row in the catalogue of published checkpoints, if it has one.
    """

    model: GCViT
    name: str
    preprocessing: Preprocessing
    labels: list[str] | None
    source: str
    entry: CatalogueEntry | None


def open_model(source: Weights) -> OpenedModel:
    """Open a trained model in eval mode.

    source: as `load_weights` takes it; of a bare checkpoint the variant is read off its shapes.
    Raises UserError when it cannot be opened. What it is said to be is compared with the shapes of its weights before
    anything is built, so that nothing is as large as a description alone makes it.
    """
    checkpoint = find(source)
    hub, entry, origin = checkpoint.hub_config, checkpoint.entry, checkpoint.origin
    config = configuration(checkpoint)
    if hub is not None:
        preprocessing, labels = preprocessing_of(hub, origin), labels_of(hub, origin)
    else:
        preprocessing, labels = entry.preprocessing if entry else Preprocessing(size=config.img_size), None
    if labels is not None and len(labels) != config.num_classes:
        raise UserError(f"{origin}: {len(labels):,} labels for {config.num_classes} classes")
    with torch.device("meta"):
        model = GCViT(config)
    load_weights(model.to_empty(device="cpu"), checkpoint)
    name = entry.model if entry else nearest_variant(config)[0]
    return OpenedModel(model.eval(), name, preprocessing, labels, origin, entry)


def configuration(checkpoint: Checkpoint) -> GCViTConfig:
    """What model a checkpoint holds, by its config.json or its shapes alone; no values are read, nothing is built.

    Raises UserError when it is no GC ViT, and when config.json and the shapes of the weights disagree.
    """
    if checkpoint.hub_config is None:
        return read_off(checkpoint)
    config, origin = model_config(checkpoint.hub_config, checkpoint.origin), checkpoint.origin
    _, state = ours(checkpoint)
    if config.head and (found := classes_in(state)) != config.num_classes:
        raise UserError(f"{origin}: {found} classes in the weights, but {config.num_classes} in its config.json")
    if not states_windows(checkpoint.hub_config) and (windows := _square_windows(state)):
        config = config if config.stage_windows == windows else _checked(config, origin, windows=windows)
    check_described(shapes_of(config), state, origin)
    return config


def read_off(checkpoint: Checkpoint, *, head: bool = True) -> GCViTConfig:
    """The configuration of a bare state dict, from its names and shapes. head: whether it is a classifier's, or a
    backbone's, with norms of its maps or without. Raises UserError when no variant fits."""
    origin = checkpoint.origin
    _, state = ours(checkpoint)
    if not head:
        state = {name: tensor for name, tensor in state.items() if name not in MAP_NORMS}
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    windows, stem = _square_windows(state), shapes["stem.conv.weight"]
    for row in (replace(row, head=head) for row in VARIANTS.values()):
        if len(stem) != 4 or stem[0] != row.dim or shapes.keys() != shapes_of(row).keys():
            continue
        config = _checked(row, origin, num_classes=classes_in(state), in_chans=stem[1])
        expected = shapes_of(config)
        if any(shapes[name] != expected[name] for name in shapes if not name.endswith(TABLE)):
            continue
        if windows is None:
            raise UserError(
                f"{origin}: its windows are not square, and a bare file does not say what they are; "
                f"build the model with create_model(img_size=…) and use load_weights"
            )
        side = SMALLEST_SIDE * windows[-1][0]
        published, square = config, _checked(config, origin, img_size=(side, side))
        fitting = (sized for sized in (published, square) if sized.stage_windows == windows)
        config = next(fitting, None) or _checked(square, origin, windows=windows)
        check_named(shapes_of(config), state, f"{origin}: a GC ViT whose blocks have different windows")
        return config
    raise UserError(f"{origin}: a GC ViT, but of none of the sizes we know; use load_weights on a model of its size")


def _checked(config: GCViTConfig, origin: str, **changes: Any) -> GCViTConfig:
    """The configuration with changes. Raises UserError, naming the origin, for what cannot be."""
    with naming(origin):
        return replace(config, **changes)


def _square_windows(state: Mapping[str, Tensor]) -> tuple[Pair, ...] | None:
    """The windows that the bias tables of a state with our names belong to, if all are square."""
    tables = [state.get(f"stages.{stage}.blocks.0{TABLE}") for stage in range(STAGES)]
    windows = [None if rows is None or rows.ndim != 2 else table_window(len(rows)) for rows in tables]
    return None if None in windows else tuple(window for window in windows if window is not None)


def _entry(name: str, pretrained: bool | str) -> CatalogueEntry | None:
    if pretrained is False:
        return None
    entry = default_entry(name) if pretrained is True else CATALOGUE.get(pretrained)
    if entry is None or entry.model != name:
        known = [e.name for e in CATALOGUE.values() if e.model == name]
        choices = f"there are {', '.join(known)}" if known else "nobody has published any; train it, or pass a path"
        raise UserError(f"no published weights {'' if pretrained is True else pretrained!r} for {name}: {choices}")
    return entry
