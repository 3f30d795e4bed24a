"""The segmentation model that a run starts from."""

import re
from dataclasses import replace
from functools import partial

from torch import nn

from gcvit.engine.loop import Plan
from gcvit.errors import UserError
from gcvit.model import GCViT
from gcvit.tasks.backbone import backbone_config
from gcvit.tasks.headed import check_settings, mean_std, settings_in, start_from
from gcvit.tasks.opened import Opened
from gcvit.tasks.segment.config import SegmentConfig
from gcvit.tasks.segment.segmenter import Segmenter
from gcvit.tasks.segment.settings import ScenePreprocessing, UPerNetConfig
from gcvit.tasks.task import Data, Task
from gcvit.weights.names import State
from gcvit.weights.reading import Checkpoint

AUXILIARY = "auxiliary_head."
BY_CLASS = re.compile(r"(decode|auxiliary)_head\.classifier\.")  # layers with a row for each class
SMALL_BATCH = 8  # images; with fewer, group norm beats batch norm (Wu and He, 2018)


def build_segmenter(
    task: Task, config: SegmentConfig, data: Data, plan: Plan, checkpoint: Checkpoint | None
) -> tuple[Opened, list[str]]:
    """Make the model of a run; see `Task.build`.

    A classifier's checkpoint gives its backbone; a segmentation model's all its weights, where the rows of its
    classifiers go by the names of the classes, and classes that it does not know start fresh. Batch norm goes over
    all GPUs together. Raises UserError for weights of another model, and for batch norm with one image at a time.
    """
    backbone = GCViT(backbone_config(config, config.img_size or config.augment.crop, head=False))
    model, notes = Segmenter(backbone, len(data.classes), config.head), []
    if checkpoint is not None:
        settle = partial(_settle, config, checkpoint)
        notes += start_from(model, config, checkpoint, task, data.classes, BY_CLASS, settle)
    if config.head.norm == "batch":
        model, said = _synchronised(model, plan)
        notes += said
    pixels = config.normalised(*mean_std(checkpoint, config))
    preprocessing = ScenePreprocessing(resize=config.resize, crop=config.augment.crop, **pixels)
    return Opened(task, model, config.model, preprocessing, data.classes, palette=data.palette), notes


def _settle(config: SegmentConfig, checkpoint: Checkpoint, target: State, found: State) -> list[str]:
    """See `start_from`: what only matters in training may differ."""
    ours, theirs = config.head, settings_in(checkpoint, "head", UPerNetConfig())
    same = replace(theirs, dropout=ours.dropout, aux_weight=ours.aux_weight)
    if not (ours.aux_weight and theirs.aux_weight):
        same = replace(same, aux_channels=ours.aux_channels)
    check_settings(ours, same, checkpoint.origin)
    notes = []
    for state, other, what in ((target, found, "is fresh"), (found, target, "is not used")):
        names = [name for name in state if name.startswith(AUXILIARY)]
        if names and not any(name.startswith(AUXILIARY) for name in other):
            for name in names:
                del state[name]
            notes.append(f"the auxiliary head {what}")
    return notes


def _synchronised(model: Segmenter, plan: Plan) -> tuple[Segmenter, list[str]]:
    """Batch norm over the GPUs together, and a warning where it sees few images.

    On the CPU torch has no such layer: there each process goes by its own images.
    """
    share = plan.share
    together = share.ranks > 1 and plan.device.type == "cuda"
    if together:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    images = share.micro_batch * (share.ranks if together else 1)
    other = "--norm group normalises each image by itself"
    if images == 1:
        raise UserError(
            f"batch norm needs at least 2 images at once, but batch_size {share.batch_size} over {share.ranks} "
            f"processes × {share.passes} passes (accumulate) gives it 1; {other}"
        )
    if images >= SMALL_BATCH:
        return model, []
    return model, [
        f"batch norm takes its means and variances from {images} images at once (the map pooled to one cell: from "
        f"{images} numbers), which is noisy below {SMALL_BATCH}; {other}"
    ]
