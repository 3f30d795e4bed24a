"""Segmentation models on disk: a folder with `config.json` and `model.safetensors`, which nothing has to be run for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch

from gcvit.data.label_maps import RGB, is_colour
from gcvit.engine.config import as_dict, override, require
from gcvit.model import GCViT
from gcvit.model.config import Pair
from gcvit.model.variants import VARIANTS, nearest_variant
from gcvit.tasks.segment.config import UPerNetConfig
from gcvit.tasks.segment.segmenter import SegmentationModel, Segmenter
from gcvit.tasks.sources import checkpoint_path
from gcvit.weights.catalogue import CATALOGUE
from gcvit.weights.hub import check_not_folded, hub_config, model_config, write_model
from gcvit.weights.loading import find
from gcvit.weights.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from gcvit.weights.reading import Checkpoint

TASK = "segment"
Settings = TypeVar("Settings", UPerNetConfig, "ScenePreprocessing")


@dataclass(frozen=True)
class ScenePreprocessing:
    """How a model's pictures are prepared.

    resize: (long, short) limits in pixels, keeping the shape; None: as they are.
    crop: (height, width) in pixels of what it was trained on, and of the window of sliding inference.
    mean, std: per channel, of values in 0..1.
    """

    resize: tuple[int, int] | None = None
    crop: Pair = (512, 512)
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        """Raises ValueError, naming the field, for a value out of range."""
        require(self.resize is None or min(self.resize) >= 1, "resize", self.resize, "at least 1 pixel, or none")
        require(min(self.crop) >= 1, "crop", self.crop, "at least 1 pixel a side")
        require(min(self.std) > 0, "std", self.std, "above 0")


@dataclass(frozen=True)
class OpenedSegmenter:
    """A trained segmentation model in eval mode, and what is known of it.

    model: a `Segmenter`, or what runs an exported one. name: its backbone's variant. classes: names in the order of the
    logits. palette: a colour for each. source: where it came from.
    """

    model: SegmentationModel
    name: str
    classes: list[str]
    palette: list[RGB]
    preprocessing: ScenePreprocessing
    source: str


def save_segmenter(
    model: Segmenter,
    folder: str | Path,
    *,
    classes: Sequence[str],
    palette: Sequence[RGB],
    preprocessing: ScenePreprocessing,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a model; one that is there already is replaced, each file in one step.

    metadata: strings for the head of the safetensors file.
    Raises ValueError for a folded copy, and when there are not as many classes or colours as logits.
    """
    check_not_folded(model.backbone)
    if not len(classes) == len(palette) == model.classes:
        raise ValueError(f"{len(classes)} classes and {len(palette)} colours for {model.classes} logits")
    backbone = model.backbone.config
    prepared = Preprocessing(backbone.img_size, mean=preprocessing.mean, std=preprocessing.std)
    content = {
        "task": TASK,
        "backbone": hub_config(backbone, prepared, None),
        "head": as_dict(model.head_config),
        "classes": list(classes),
        "palette": [list(colour) for colour in palette],
        "preprocessing": as_dict(preprocessing),
    }
    return write_model(model, folder, content, metadata)


def open_segmenter(source: str | Path) -> OpenedSegmenter:
    """Open a trained model in eval mode.

    source: a folder that `save_segmenter` wrote, such as best/ of a run; a run's folder, for its best/; or a hub
    repository that holds one. Raises ValueError when it cannot be opened, or is no segmentation model.
    """
    if str(source) in (*VARIANTS, *CATALOGUE):  # before they are fetched
        raise ValueError(
            f"{source} names a classifier, and no segmentation model of it is published; train one on its weights with "
            f"`gcvit train segment --pretrained`, and give its folder"
        )
    checkpoint = find(checkpoint_path(str(source)))
    if not is_segmenter(checkpoint):
        raise ValueError(f"{checkpoint.origin}: not a segmentation model; its {_what(checkpoint)}")
    assert checkpoint.hub_config is not None
    config, origin = checkpoint.hub_config, checkpoint.origin
    classes, palette = classes_of(checkpoint), _palette(config.get("palette"), origin)
    if len(palette) != len(classes):
        raise ValueError(f"{origin}: {len(palette)} colours in the palette for {len(classes)} classes")
    preprocessing = _settings(checkpoint, "preprocessing", ScenePreprocessing())
    backbone = replace(model_config(described(checkpoint, "backbone"), origin), head=False)
    with torch.device("meta"):  # what does not fit costs neither time nor memory
        model = Segmenter(GCViT(backbone), len(classes), head_of(checkpoint))
    check_state(model, checkpoint)
    model.to_empty(device="cpu").load_state_dict(checkpoint.state)
    name, _ = nearest_variant(backbone)
    return OpenedSegmenter(model.eval(), name, classes, palette, preprocessing, origin)


def is_segmenter(checkpoint: Checkpoint) -> bool:
    """Whether `save_segmenter` wrote it."""
    return checkpoint.hub_config is not None and checkpoint.hub_config.get("task") == TASK


def described(checkpoint: Checkpoint, key: str) -> dict:
    """The JSON object of that name in a segmentation model's config.json. Raises ValueError when there is none."""
    found = (checkpoint.hub_config or {}).get(key)
    if not isinstance(found, dict):
        raise ValueError(f"{checkpoint.origin}: {key} should be a JSON object, not {found!r}")
    return found


def head_of(checkpoint: Checkpoint) -> UPerNetConfig:
    """What the heads of a segmentation model are made of. Raises ValueError for unknown keys and wrong values."""
    return _settings(checkpoint, "head", UPerNetConfig())


def classes_of(checkpoint: Checkpoint) -> list[str]:
    """The class names of a segmentation model. Raises ValueError when there are none."""
    classes = (checkpoint.hub_config or {}).get("classes")
    if not isinstance(classes, list) or not classes or not all(map(_is_name, classes)):
        raise ValueError(f"{checkpoint.origin}: classes should be a list of names, not {classes!r}")
    return classes


def check_state(model: Segmenter, checkpoint: Checkpoint) -> None:
    """Raise ValueError, listing the names, for weights that are missing, left over or of another shape."""
    target, state, origin = model.state_dict(), checkpoint.state, checkpoint.origin
    wrong = {
        "missing": [name for name in target if name not in state],
        "left over": [name for name in state if name not in target],
        "of another shape": [name for name in target if name in state and target[name].shape != state[name].shape],
    }
    if any(wrong.values()):
        listed = "\n".join(f"  {what} ({len(names)}): {', '.join(names[:8])}" for what, names in wrong.items() if names)
        raise ValueError(f"{origin}: the weights are not those of the model that config.json describes\n{listed}")


def _settings(checkpoint: Checkpoint, key: str, base: Settings) -> Settings:
    values = described(checkpoint, key)
    try:
        return override(base, values)
    except ValueError as error:
        raise ValueError(f"{checkpoint.origin}: {key}: {error}") from error


def _palette(palette: object, origin: str) -> list[RGB]:
    if not isinstance(palette, list) or not all(map(is_colour, palette)):
        raise ValueError(f"{origin}: palette should be a list of colours, three numbers from 0 to 255 each")
    return [tuple(colour) for colour in palette]


def _is_name(name: object) -> bool:
    """A text that a terminal shows and does not obey."""
    return isinstance(name, str) and name.isprintable()


def _what(checkpoint: Checkpoint) -> str:
    if checkpoint.hub_config is None:
        return "weights alone do not say what they are; give the folder with its config.json"
    if "architecture" in checkpoint.hub_config:
        return "config.json is a classifier's; train on it with `gcvit train segment --weights`"
    return "config.json does not have task segment"
