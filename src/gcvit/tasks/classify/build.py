"""The model that a run starts from."""

from dataclasses import replace

from gcvit.factory import create_model, variant
from gcvit.model import GCViT
from gcvit.tasks.classify.config import ClassifyConfig
from gcvit.weights.hub import labels_of, preprocessing_of
from gcvit.weights.loading import find, load_weights
from gcvit.weights.preprocessing import Preprocessing


def input_size(config: ClassifyConfig) -> tuple[int, int]:
    """(height, width) of the run's images in pixels."""
    row = variant(config.model)
    if config.img_size is None:
        return row.img_size
    return replace(row, img_size=config.img_size).img_size  # type: ignore[arg-type]


def build_model(config: ClassifyConfig, classes: list[str]) -> tuple[GCViT, Preprocessing, list[str]]:
    """The model to train, how its images are prepared, and what a person should know about its weights.

    A checkpoint's head stays when its labels are `classes`, or when it has no labels and as many outputs.
    """
    model = create_model(
        config.model,
        num_classes=len(classes),
        img_size=config.img_size,
        windows=config.windows,
        drop_path=config.drop_path,
    )
    preprocessing, notes = Preprocessing(), []
    source = config.model if config.pretrained else config.weights
    if source is not None:
        checkpoint = find(source)
        labels = labels_of(checkpoint.hub_config) if checkpoint.hub_config else None
        outputs = next(
            (len(checkpoint.state[n]) for n in ("head.weight", "head.fc.weight") if n in checkpoint.state), 0
        )
        keep = labels == classes if labels is not None else outputs == len(classes)
        notes.append(str(load_weights(model, checkpoint, replace_head=not keep)))
        if checkpoint.hub_config:
            preprocessing = preprocessing_of(checkpoint.hub_config)
    preprocessing = replace(preprocessing, size=model.config.img_size, crop_pct=config.crop_pct)
    return model, preprocessing, notes
