"""From a name, a directory or a file to a model with its weights."""

from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from gcvit.model import VARIANTS, GCViT, GCViTConfig
from gcvit.model.attention import table_window
from gcvit.model.config import STAGES, Pair, Windows
from gcvit.model.variants import nearest_variant
from gcvit.weights.catalogue import CATALOGUE, CatalogueEntry, default_entry, entry_for_file
from gcvit.weights.hub import labels_of, model_config, preprocessing_of
from gcvit.weights.loading import find, load_weights
from gcvit.weights.names import DERIVED, layout_of, table
from gcvit.weights.preprocessing import Preprocessing
from gcvit.weights.reading import Checkpoint


def list_models() -> list[str]:
    """The names that `create_model` takes: the eleven published models and two small ones."""
    return list(VARIANTS)


def variant(name: str) -> GCViTConfig:
    """The row of a model. Raises ValueError with the nearest names when there is none."""
    if name in VARIANTS:
        return VARIANTS[name]
    near = get_close_matches(name, VARIANTS, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(VARIANTS)}"
    raise ValueError(f"no model is called {name!r}; {hint}")


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

    Raises ValueError for an unknown name (with the near ones) or a value that does not fit, and when weights cannot be
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
    model = GCViT(config)
    if entry:
        load_weights(model, entry.name, replace_head=head and num_classes not in (0, 1000))
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


def open_model(source: str | Path, *, ema: bool = False) -> OpenedModel:
    """Open a trained model in eval mode.

    source: a variant's or catalogue name (published weights, fetched when needed), a hub directory or repository, or a
    checkpoint file, whose variant is read off its shapes. Raises ValueError when it cannot be opened.
    """
    if isinstance(source, str) and not Path(source).exists() and source not in CATALOGUE and "/" not in source:
        variant(source)  # an unknown name is answered with the near ones
        _entry(source, True)
    checkpoint = find(source, ema=ema)
    entry = entry_for_file(Path(source).name)
    if not Path(source).exists():
        entry = entry or CATALOGUE.get(str(source)) or default_entry(str(source))
    if checkpoint.hub_config is not None:
        config = model_config(checkpoint.hub_config, checkpoint.origin)
        preprocessing, labels = preprocessing_of(checkpoint.hub_config), labels_of(checkpoint.hub_config)
        if labels and len(labels) != config.num_classes:
            raise ValueError(f"{checkpoint.origin}: {len(labels)} labels for {config.num_classes} classes")
    else:
        config, labels = read_off(checkpoint), None
        preprocessing = entry.preprocessing if entry else Preprocessing(size=config.img_size)
    model = GCViT(config)
    load_weights(model, checkpoint)
    name = entry.model if entry else nearest_variant(config)[0]
    return OpenedModel(model.eval(), name, preprocessing, labels, checkpoint.origin, entry)


def read_off(checkpoint: Checkpoint) -> GCViTConfig:
    """The configuration of a bare state dict, from its names and shapes. Raises ValueError when no variant fits."""
    layout = layout_of(checkpoint.state)
    if layout is None:
        raise ValueError(f"{checkpoint.origin}: not a GC ViT's weights")
    shapes = {name: tensor.shape for name, tensor in checkpoint.state.items()}
    for row in VARIANTS.values():
        names = {r.gcvit: getattr(r, layout) for r in table(row)}
        learned = {name for name in shapes if not name.endswith(DERIVED)}
        if learned != set(names.values()) or shapes[names["stem.conv.weight"]][0] != row.dim:
            continue
        if shapes[names["stages.0.blocks.0.mlp.fc1.weight"]][0] != int(row.dim * row.mlp_ratio):
            continue
        tables = [shapes[names[f"stages.{stage}.blocks.0.attention.bias.table"]] for stage in range(STAGES)]
        windows = tuple(table_window(rows) for rows, _ in tables)
        if None in windows:
            raise ValueError(
                f"{checkpoint.origin}: its windows are not square, and a bare file does not say what they are; "
                f"build the model with create_model(img_size=…) and use load_weights"
            )
        in_chans = shapes[names["stem.conv.weight"]][1]
        config = replace(row, num_classes=shapes[names["head.weight"]][0], in_chans=in_chans)
        side = 32 * windows[-1][0]  # type: ignore[index]
        for size in (row.img_size, (side, side)):
            sized = replace(config, img_size=size, windows=None)
            if sized.stage_windows == windows:
                return sized
        return replace(config, windows=windows)  # type: ignore[arg-type]
    raise ValueError(
        f"{checkpoint.origin}: a GC ViT, but of none of the sizes we know; use load_weights on a model of its size"
    )


def _entry(name: str, pretrained: bool | str) -> CatalogueEntry | None:
    if pretrained is False:
        return None
    entry = default_entry(name) if pretrained is True else CATALOGUE.get(pretrained)
    if entry is None or entry.model != name:
        known = [e.name for e in CATALOGUE.values() if e.model == name]
        choices = f"there are {', '.join(known)}" if known else "nobody has published any; train it, or pass a path"
        raise ValueError(f"no published weights {'' if pretrained is True else pretrained!r} for {name}: {choices}")
    return entry
