"""The model that a run starts from."""

from dataclasses import replace

from gcvit.factory import create_model, open_model, variant
from gcvit.model import GCViT
from gcvit.model.layers import DropPath
from gcvit.tasks.classify.config import ClassifyConfig
from gcvit.tasks.sources import check_model, checkpoint_path
from gcvit.weights.catalogue import default_entry
from gcvit.weights.hub import labels_of, preprocessing_of
from gcvit.weights.loading import find, load_weights
from gcvit.weights.preprocessing import Preprocessing
from gcvit.weights.reading import Checkpoint

AUTO = "auto"
HEAD_WEIGHTS = ("head.weight", "head.fc.weight")  # ours and NVlabs', timm's
HEAD_BIASES = ("head.bias", "head.fc.bias")


def settled(config: ClassifyConfig) -> ClassifyConfig:
    """`config` with the name and the image size of its weights' model where `model` is auto.

    Raises ValueError when there are no weights then, or they cannot be opened.
    """
    if config.model != AUTO:
        return config
    if config.weights is None:
        raise ValueError("model is auto, that of the weights, but no weights are given; give weights or name the model")
    opened = open_model(checkpoint_path(config.weights))
    size = opened.model.config.img_size if config.img_size is None else config.img_size
    return replace(config, model=opened.name, img_size=size)


def input_size(config: ClassifyConfig) -> tuple[int, int]:
    """(height, width) of a settled run's images in pixels."""
    row = variant(config.model)
    if config.img_size is None:
        return row.img_size
    return replace(row, img_size=config.img_size).img_size  # type: ignore[arg-type]


def build_model(config: ClassifyConfig, classes: list[str]) -> tuple[GCViT, Preprocessing, list[str]]:
    """The model of a settled configuration, how its images are prepared, and what a person should know about it.

    A checkpoint's head stays, row by row, when its labels are known and `classes` are among them, or when they are
    not known and it has as many outputs. Raises ValueError for weights of another model and for stages that would be
    frozen without having learned anything.
    """
    model = create_model(
        config.model,
        num_classes=len(classes),
        img_size=config.img_size,
        windows=config.windows,
        drop_path=config.drop_path,
    )
    published = default_entry(config.model)
    preprocessing, notes = published.preprocessing if published else Preprocessing(), []
    source = _source(config)
    if source is not None:
        checkpoint = find(source)
        check_model(config.model, model.config, checkpoint, ", or to auto for the weights' own")
        with_head = _with_head_for(classes, checkpoint)
        notes.append(str(load_weights(model, with_head or checkpoint, replace_head=with_head is None)))
        if checkpoint.hub_config:
            preprocessing = preprocessing_of(checkpoint.hub_config)
    if config.freeze_stages:
        if source is None:
            raise ValueError("freeze_stages keeps learned weights, but this run starts from none; give weights")
        notes.append(_freeze(model, config.freeze_stages))
    preprocessing = replace(preprocessing, size=model.config.img_size, crop_pct=config.crop_pct)
    return model, preprocessing, notes


def _source(config: ClassifyConfig) -> str | None:
    """What to start from, if anything."""
    if config.pretrained or config.weights is None:
        return config.model if config.pretrained else None
    return checkpoint_path(config.weights)


def _with_head_for(classes: list[str], checkpoint: Checkpoint) -> Checkpoint | None:
    """The checkpoint with the rows of its head for `classes`, in their order; None when it does not have them all."""
    labels = labels_of(checkpoint.hub_config) if checkpoint.hub_config else None
    outputs = next((len(checkpoint.state[name]) for name in HEAD_WEIGHTS if name in checkpoint.state), 0)
    if labels is None:
        return checkpoint if outputs == len(classes) else None
    if not len(set(labels)) == len(labels) == outputs or not set(classes) <= set(labels):
        return None
    rows = [labels.index(name) for name in classes]
    if rows == list(range(outputs)):
        return checkpoint
    head = {name: checkpoint.state[name][rows] for name in (*HEAD_WEIGHTS, *HEAD_BIASES) if name in checkpoint.state}
    origin = f"{checkpoint.origin} ({len(rows)} of its {outputs} classes)"
    return replace(checkpoint, state=checkpoint.state | head, origin=origin)


def _freeze(model: GCViT, stages: int) -> str:
    """Make fixed features of the stem and the first `stages` stages, with the downsampler that follows them: without
    gradients, and without drop path, the only noise that a run can put there. Says so."""
    for part in (model.stem, *model.stages[:stages]):
        part.requires_grad_(False)
        for module in part.modules():
            if isinstance(module, DropPath):
                module.rate = 0.0
    learned = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    what = "the first stage" if stages == 1 else f"the first {stages} stages"
    return f"the stem and {what} stay as they are; {learned / 1e6:.2f} M parameters are trained"
