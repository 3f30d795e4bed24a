"""Models of a GC ViT with heads on disk: a folder with `config.json` and `model.safetensors`, which nothing has to be
run for. What segmentation's and detection's folders have in common."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from gcvit.data.label_maps import MOST_CLASSES, is_colour
from gcvit.data.pixels import RGB
from gcvit.engine.config import as_dict, override
from gcvit.errors import UserError
from gcvit.model import GCViT, GCViTConfig
from gcvit.model.variants import nearest_variant
from gcvit.tasks.backbone import backbone_of, check_same_model
from gcvit.tasks.classes import rows_by_name, rows_note, with_rows
from gcvit.tasks.config import RunConfig
from gcvit.tasks.opened import Opened
from gcvit.tasks.task import Task
from gcvit.weights.hub import check_not_folded, hub_config, model_config, object_in, preprocessing_of, write_model
from gcvit.weights.loading import backbone_of as backbone_in
from gcvit.weights.loading import check_named, fill, load_weights
from gcvit.weights.preprocessing import Preprocessing
from gcvit.weights.reading import Checkpoint
from gcvit.weights.unwrapping import State
from gcvit.weights.values import check_values
from gcvit.wording import composed, is_harmless

BACKBONE = "backbone."
Settings = TypeVar("Settings")
Make = Callable[[GCViT, int, Any], nn.Module]  # of a backbone, the number of classes, and the head's settings


def save_headed(opened: Opened, model: Any, folder: Path, metadata: Mapping[str, str]) -> Path:
    """Write a model with its classes, their colours and preprocessing; one that is there already is replaced.

    model: with `classes`, how many it tells apart, and `head_config`, the settings of its heads.
    Raises UserError for a folded copy, and when there are not as many classes or colours as outputs, or as many means
    as channels.
    """
    backbone = backbone_of(model)
    check_not_folded(backbone)
    classes, palette, preprocessing = opened.classes or [], opened.palette or [], opened.preprocessing
    if not len(classes) == len(palette) == model.classes:
        raise UserError(f"{len(classes)} classes and {len(palette)} colours for {model.classes} logits")
    config = backbone.config
    if len(preprocessing.mean) != config.in_chans:
        raise UserError(f"mean and std of {len(preprocessing.mean)} channels for a model of {config.in_chans}")
    content = description(opened.task, config, model.head_config, classes, palette, preprocessing)
    return write_model(model, folder, content, metadata)


def description(
    task: Task, backbone: GCViTConfig, head: Any, classes: Sequence[str], palette: Sequence[RGB], preprocessing: Any
) -> dict[str, Any]:
    """The content of a model's config.json."""
    kept = {key: getattr(preprocessing, key) for key in ("mean", "std", "value_range")}
    return {
        "task": task.name,
        "backbone": hub_config(backbone, Preprocessing(backbone.img_size, **kept), None),
        "head": as_dict(head),
        "classes": list(classes),
        "palette": [list(colour) for colour in palette],
        "preprocessing": as_dict(preprocessing),
    }


def open_headed(task: Task, checkpoint: Checkpoint, make: Make, head: Any) -> Opened:
    """Make the model of a folder that `save_headed` wrote, in eval mode. head: the settings of the heads as usual.

    Raises UserError for anything else.
    """
    config, origin = checkpoint.hub_config, checkpoint.origin
    assert config is not None
    classes, palette = classes_of(checkpoint), _palette(config.get("palette"), origin)
    if len(palette) != len(classes):
        raise UserError(f"{origin}: {len(palette)} colours in the palette for {len(classes)} classes")
    preprocessing = settings_in(checkpoint, "preprocessing", task.preprocessing())
    backbone = replace(model_config(described(checkpoint, "backbone"), origin), head=False)
    with torch.device("meta"):  # what does not fit costs neither time nor memory
        model = make(GCViT(backbone), len(classes), settings_in(checkpoint, "head", head))
    fill(model, checkpoint)
    name, _ = nearest_variant(backbone)
    return Opened(task, model.eval(), name, preprocessing, classes, palette=palette, source=origin)


def start_from(
    model: nn.Module,
    config: RunConfig,
    checkpoint: Checkpoint,
    task: Task,
    classes: Sequence[str],
    by_class: re.Pattern[str],
    settle: Callable[[State, State], list[str]],
) -> list[str]:
    """Load a checkpoint into a model of `task` for these classes, and say what became of it: of the same task all of
    it, of any other its backbone. Rows of the heads go by the names of the classes; others than it knows start fresh.

    by_class: what the names of layers with rows for each class begin with. settle: takes out of the states of the
    model's heads and of the checkpoint's what one of them may do without, and says so; raises UserError for heads of
    another structure. Raises UserError for another backbone, and for weights that do not fit.
    """
    backbone = backbone_of(model)
    check_same_model(config, backbone.config, checkpoint)
    if checkpoint.task != task.name:
        report = load_weights(backbone, checkpoint)
        return [*report.lines(), "only the backbone starts from these weights; the heads are fresh"]
    target, found, origin = heads_in(model.state_dict()), heads_in(checkpoint.state), checkpoint.origin
    check_values({name: weight for name, weight in found.items() if name in target}, origin, target)
    notes, known = settle(target, found), classes_of(checkpoint)
    rows = rows_by_name(classes, known)
    for name in [name for name in found if name in target and by_class.match(name)]:
        adapted = _with_rows(target[name], found[name], len(classes), len(known), rows)
        if adapted is None:
            shape = tuple(found[name].shape)
            raise UserError(f"{origin}: {name} of shape {shape} does not fit its {len(known)} classes")
        found[name] = adapted
    shapes = {name: tuple(weight.shape) for name, weight in target.items()}
    check_named(shapes, found, f"{origin}: its heads are not those of this model")
    report = load_weights(backbone, replace(backbone_in(checkpoint), beside={}))  # the heads are taken, too
    model.load_state_dict(model.state_dict() | found)
    return [*report.lines(), *notes, rows_note(classes, [classes[row] for row in rows.values()], len(known))]


def _with_rows(ours: Tensor, theirs: Tensor, classes: int, known: int, rows: dict[int, int]) -> Tensor | None:
    """A layer with so many rows for each class, and perhaps one for the background, the last; None where it does not
    fit."""
    background = {known: classes} if len(ours) == classes + 1 else {}
    each = len(ours) // (classes + len(background))
    if theirs.shape != (each * (known + len(background)), *ours.shape[1:]):
        return None
    mine, other = (weight.unflatten(0, (-1, each)) for weight in (ours, theirs))
    return with_rows(mine, other, rows | background).flatten(0, 1)


def heads_in(state: Mapping[str, Tensor]) -> State:
    """What is not the backbone's."""
    return {name: x for name, x in state.items() if not name.startswith(BACKBONE)}


def check_settings(ours: Any, theirs: Any, origin: str) -> None:
    """Raise UserError, with the flags to give, for heads of another structure."""
    if theirs != ours:
        expected = asdict(ours)
        apart = {key: value for key, value in asdict(theirs).items() if value != expected[key]}
        flags = " ".join(_flag(key, value) for key, value in apart.items())
        raise UserError(f"{origin} has heads of another kind; to train it give {flags}")


def _flag(key: str, value: object) -> str:
    name = key.replace("_", "-")
    if isinstance(value, bool):
        return f"--{'' if value else 'no-'}{name}"
    return f"--{name} {' '.join(map(str, value)) if isinstance(value, tuple) else value}"


def mean_std(checkpoint: Checkpoint | None, config: RunConfig) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Those of the pictures that a checkpoint was trained on, where it says; else ImageNet's.

    Raises UserError where they are of another range of values than the run's, and the run has none of its own.
    """
    found = Preprocessing()
    if checkpoint is not None and checkpoint.hub_config is not None:
        hub = checkpoint.hub_config if checkpoint.task is None else described(checkpoint, "backbone")
        found = preprocessing_of(hub, checkpoint.origin)
        check_range(config, found, checkpoint)
    return found.mean, found.std


def check_range(config: RunConfig, theirs: Preprocessing, checkpoint: Checkpoint) -> None:
    """Raise UserError where weights were trained on another range of values, so that their mean and std mean another
    thing, and the run has none of its own."""
    if config.mean is None and len(theirs.mean) == config.in_chans and theirs.value_range != config.value_range:
        was = "none" if theirs.value_range is None else "{:g} {:g}".format(*theirs.value_range)
        raise UserError(
            f"{checkpoint.origin} was trained with --value-range {was}; give the same, or mean and std of your own"
        )


def described(checkpoint: Checkpoint, key: str) -> dict:
    """The JSON object of that name in the model's config.json. Raises UserError when there is none."""
    return object_in(checkpoint.hub_config, key, checkpoint.origin)


def settings_in(checkpoint: Checkpoint, key: str, usual: Settings) -> Settings:
    """The dataclass under that key, where it says nothing as `usual`. Raises UserError for unknown keys and wrong
    values."""
    values = described(checkpoint, key)
    try:
        return override(usual, values)
    except UserError as error:
        raise UserError(f"{checkpoint.origin}: {key}: {error}") from error


def classes_of(checkpoint: Checkpoint) -> list[str]:
    """The class names of the model. Raises UserError when there are none, or too many."""
    classes = (checkpoint.hub_config or {}).get("classes")
    if not isinstance(classes, list) or not classes or not all(map(is_harmless, classes)):
        raise UserError(f"{checkpoint.origin}: classes should be a list of names, not {classes!r:.80}")
    if len(classes) > MOST_CLASSES:
        raise UserError(f"{checkpoint.origin}: {len(classes):,} classes; {MOST_CLASSES:,} are the most")
    return list(map(composed, classes))


def _palette(palette: object, origin: str) -> list[RGB]:
    if not isinstance(palette, list) or not all(map(is_colour, palette)):
        raise UserError(f"{origin}: palette should be a list of colours, three numbers from 0 to 255 each")
    return [tuple(colour) for colour in palette]
