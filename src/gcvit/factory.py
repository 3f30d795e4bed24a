"""From a name, a directory or a file to a model with its weights."""

from dataclasses import dataclass, replace

import torch

from gcvit.errors import UserError
from gcvit.model import VARIANTS, GCViT, GCViTConfig
from gcvit.model.config import Pair, Windows
from gcvit.model.variants import nearest_variant
from gcvit.weights.architecture import configuration
from gcvit.weights.catalogue import CATALOGUE, CatalogueEntry, default_entry
from gcvit.weights.fetching import Weights, find
from gcvit.weights.hub import labels_of, preprocessing_of
from gcvit.weights.loading import load_weights
from gcvit.weights.preprocessing import Preprocessing
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


def _entry(name: str, pretrained: bool | str) -> CatalogueEntry | None:
    if pretrained is False:
        return None
    entry = default_entry(name) if pretrained is True else CATALOGUE.get(pretrained)
    if entry is None or entry.model != name:
        known = [e.name for e in CATALOGUE.values() if e.model == name]
        choices = f"there are {', '.join(known)}" if known else "nobody has published any; train it, or pass a path"
        raise UserError(f"no published weights {'' if pretrained is True else pretrained!r} for {name}: {choices}")
    return entry
