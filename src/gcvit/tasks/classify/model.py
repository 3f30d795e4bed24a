"""Classifiers: made for a run, from weights or fresh; opened from a checkpoint; saved in timm's hub format."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from gcvit.errors import UserError
from gcvit.model import GCViT
from gcvit.model.variants import nearest_variant
from gcvit.tasks.backbone import backbone_config, check_same_model
from gcvit.tasks.classify.config import ClassifyConfig
from gcvit.tasks.classify.names import class_names
from gcvit.tasks.headed import check_range
from gcvit.tasks.opened import Opened
from gcvit.tasks.task import Data
from gcvit.weights.architecture import configuration
from gcvit.weights.catalogue import default_entry
from gcvit.weights.hub import labels_of, preprocessing_of, save_hub
from gcvit.weights.loading import load_weights
from gcvit.weights.names import HEAD, classes_in
from gcvit.weights.preprocessing import Preprocessing
from gcvit.weights.reading import Checkpoint

if TYPE_CHECKING:
    from gcvit.tasks.classify.task import Classify

AUTO = "auto"


def settled(config: ClassifyConfig, checkpoint: Checkpoint | None) -> ClassifyConfig:
    """`config` with the name and the image size of its weights' model where `model` is auto.

    Raises UserError when there are no weights then, or they do not say what they are of.
    """
    if config.model != AUTO:
        return config
    if checkpoint is None:
        raise UserError("model is auto, that of the weights, but no weights are given; give weights or name the model")
    found = configuration(checkpoint)
    name = checkpoint.entry.model if checkpoint.entry else nearest_variant(found)[0]
    return replace(config, model=name, img_size=found.img_size if config.img_size is None else config.img_size)


def build_classifier(
    task: "Classify", config: ClassifyConfig, data: Data, checkpoint: Checkpoint | None
) -> tuple[Opened, list[str]]:
    """Make the model of a settled configuration; see `Task.build`.

    A checkpoint's head stays, row by row, when its labels are known and the classes are among them, or when they are
    not known and it has as many outputs.
    """
    published = default_entry(config.model)
    preprocessing, notes = published.preprocessing if published else Preprocessing(), []
    model = GCViT(backbone_config(config, config.img_size, num_classes=len(data.classes)))
    if checkpoint is not None:
        if checkpoint.task not in (None, task.name):
            raise UserError(
                f"{checkpoint.origin} is for the task {checkpoint.task}, whose backbone lacks a classifier's last "
                "norm; give the weights of a classifier"
            )
        check_same_model(config, model.config, checkpoint, ", or to auto for the weights' own")
        with_head = _with_head_for(data.classes, checkpoint)
        report = load_weights(model, with_head or checkpoint, replace_head=with_head is None)
        notes += report.lines()
        if checkpoint.hub_config:
            preprocessing = preprocessing_of(checkpoint.hub_config, checkpoint.origin)
            check_range(config, preprocessing, checkpoint)
    pixels = config.normalised(preprocessing.mean, preprocessing.std)
    preprocessing = replace(preprocessing, size=model.config.img_size, crop_pct=config.crop_pct, **pixels)
    return Opened(task, model, config.model, preprocessing, data.classes), notes


def open_classifier(task: "Classify", checkpoint: Checkpoint) -> Opened:
    """Make the model of a checkpoint: of a hub folder, or of a bare file, whose variant is read off its shapes.

    One that gives features alone has no classes, []. What it is said to be is compared with the shapes of its weights
    before anything is built, so that nothing is as large as a description alone makes it.
    """
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
    names = class_names(labels, config.num_classes, entry) if config.num_classes else []
    return Opened(task, model.eval(), name, preprocessing, names, source=origin, entry=entry)


def require_classes(opened: Opened) -> None:
    """Raise UserError for a model that gives features alone."""
    if opened.classes == []:
        raise UserError(f"{opened.source} has no classes (num_classes=0), only features; give a classifier")


def save_classifier(opened: Opened, model: nn.Module, folder: Path, metadata: Mapping[str, str]) -> None:
    """Write a hub folder with weights, architecture, labels and preprocessing."""
    assert isinstance(model, GCViT)
    save_hub(model, folder, preprocessing=opened.preprocessing, labels=opened.classes, metadata=dict(metadata))


def _with_head_for(classes: list[str], checkpoint: Checkpoint) -> Checkpoint | None:
    """The checkpoint with the rows of its head for `classes`, in their order; None when it does not have them all."""
    labels = labels_of(checkpoint.hub_config, checkpoint.origin) if checkpoint.hub_config else None
    found = checkpoint.gcvit
    outputs = classes_in(found.state)
    if labels is None:
        return checkpoint if outputs == len(classes) else None
    if not len(set(labels)) == len(labels) == outputs or not set(classes) <= set(labels):
        return None
    rows = [labels.index(name) for name in classes]
    if rows == list(range(outputs)):
        return checkpoint
    head = {
        name: tensor[rows] for name, tensor in found.state.items() if name in HEAD and tensor.shape[:1] == (outputs,)
    }
    origin = f"{checkpoint.origin} ({len(rows)} of its {outputs} classes)"
    return replace(found, state=found.state | head, origin=origin)
