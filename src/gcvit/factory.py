"""From a model's name to the model, with published weights or fresh."""

from dataclasses import replace

from gcvit.errors import UserError
from gcvit.model import VARIANTS, GCViT, GCViTConfig
from gcvit.model.config import Pair, Windows
from gcvit.weights.catalogue import CATALOGUE, CatalogueEntry, default_entry
from gcvit.weights.fetching import find
from gcvit.weights.loading import load_weights
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


def _entry(name: str, pretrained: bool | str) -> CatalogueEntry | None:
    if pretrained is False:
        return None
    entry = default_entry(name) if pretrained is True else CATALOGUE.get(pretrained)
    if entry is None or entry.model != name:
        known = [e.name for e in CATALOGUE.values() if e.model == name]
        choices = f"there are {', '.join(known)}" if known else "nobody has published any; train it, or pass a path"
        raise UserError(f"no published weights {'' if pretrained is True else pretrained!r} for {name}: {choices}")
    return entry
