"""The segmentation model that a run starts from."""

from dataclasses import replace

from torch import nn

from gcvit.engine.loop import Plan
from gcvit.errors import UserError
from gcvit.model import GCViT
from gcvit.tasks.backbone import backbone_config
from gcvit.tasks.classes import rows_by_name, rows_note, with_rows
from gcvit.tasks.headed import check_heads, check_settings, classes_of, heads_in, mean_std, settings_in, start_from
from gcvit.tasks.opened import Opened
from gcvit.tasks.segment.config import SegmentConfig
from gcvit.tasks.segment.segmenter import Segmenter
from gcvit.tasks.segment.settings import ScenePreprocessing, UPerNetConfig
from gcvit.tasks.task import Data, Task
from gcvit.weights.reading import Checkpoint
from gcvit.weights.unwrapping import State

AUXILIARY = "auxiliary_head."
CLASSIFIERS = ("decode_head.classifier.", "auxiliary_head.classifier.")
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
        notes += start_from(model, config, checkpoint, task, lambda: _heads(model, config, data.classes, checkpoint))
    if config.head.norm == "batch":
        model, said = _synchronised(model, plan)
        notes += said
    pixels = config.normalised(*mean_std(checkpoint, config))
    preprocessing = ScenePreprocessing(resize=config.resize, crop=config.augment.crop, **pixels)
    return Opened(task, model, config.model, preprocessing, data.classes, palette=data.palette), notes


def _heads(
    model: Segmenter, config: SegmentConfig, classes: list[str], checkpoint: Checkpoint
) -> tuple[State, list[str]]:
    """Norms and heads of a segmentation model. Raises UserError for those of another structure; what only matters in
    training may differ."""
    ours, theirs = config.head, settings_in(checkpoint, "head", UPerNetConfig())
    same = replace(theirs, dropout=ours.dropout, aux_weight=ours.aux_weight)
    if not (ours.aux_weight and theirs.aux_weight):
        same = replace(same, aux_channels=ours.aux_channels)
    check_settings(ours, same, checkpoint.origin)
    return _heads_for(model, classes, checkpoint)


def _heads_for(model: Segmenter, classes: list[str], checkpoint: Checkpoint) -> tuple[State, list[str]]:
    """The state of norms and heads from a segmentation model, its classifiers' rows in the order of `classes`."""
    target, found = heads_in(model.state_dict()), heads_in(checkpoint.state)
    notes = []
    for ours, theirs, what in ((target, found, "is fresh"), (found, target, "is not used")):
        names = [name for name in ours if name.startswith(AUXILIARY)]
        if names and not any(name.startswith(AUXILIARY) for name in theirs):
            for name in names:
                del ours[name]
            notes.append(f"the auxiliary head {what}")
    names = classes_of(checkpoint)
    rows = rows_by_name(classes, names)
    for name in found:
        if name.startswith(CLASSIFIERS) and name in target:
            if len(found[name]) != len(names) or found[name].shape[1:] != target[name].shape[1:]:
                raise UserError(
                    f"{checkpoint.origin}: a classifier of shape {tuple(found[name].shape)} does not fit its "
                    f"{len(names)} classes"
                )
            found[name] = with_rows(target[name], found[name], rows)
    check_heads(target, found, checkpoint.origin)
    return found, [*notes, rows_note(classes, [classes[row] for row in rows.values()], len(names))]


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
