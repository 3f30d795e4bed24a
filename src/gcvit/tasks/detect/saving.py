"""The model that a run starts from, and what it takes of another detector on disk."""

from dataclasses import replace

from torch import Tensor, nn

from gcvit.engine.loop import Plan
from gcvit.model import GCViT
from gcvit.tasks.backbone import backbone_config
from gcvit.tasks.classes import rows_by_name, rows_note, with_rows
from gcvit.tasks.detect.config import DetectConfig
from gcvit.tasks.detect.detector import Detector
from gcvit.tasks.detect.settings import DetectPreprocessing, HeadConfig
from gcvit.tasks.headed import check_heads, check_settings, classes_of, heads_in, mean_std, settings_in, start_from
from gcvit.tasks.opened import Opened
from gcvit.tasks.task import Data, Task
from gcvit.weights.reading import Checkpoint
from gcvit.weights.unwrapping import State

BY_CLASS = ("classifier", "regressor")  # layers with so many outputs for each class


def build_detector(
    task: Task, config: DetectConfig, data: Data, plan: Plan, checkpoint: Checkpoint | None
) -> tuple[Opened, list[str]]:
    """Make the model of a run; see `Task.build`.

    A checkpoint of another task gives its backbone; a detector's all its weights, where the rows of its heads go by the
    names of the classes, and classes that it does not know start fresh. Batch norm goes over all GPUs together.
    """
    backbone = GCViT(backbone_config(config, config.img_size or config.size, head=False))
    model: Detector = Detector(backbone, len(data.classes), config.head)
    notes = []
    if checkpoint is not None:
        notes += start_from(model, config, checkpoint, task, lambda: _heads(model, config, data.classes, checkpoint))
    if plan.share.ranks > 1 and plan.device.type == "cuda":
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    pixels = config.normalised(*mean_std(checkpoint, config))
    preprocessing = DetectPreprocessing(config.size, config.long, **pixels)
    return Opened(task, model, config.model, preprocessing, data.classes, palette=data.palette), notes


def _heads(
    model: Detector, config: DetectConfig, classes: list[str], checkpoint: Checkpoint
) -> tuple[State, list[str]]:
    """Norms and heads of a detector, rows in the order of `classes`. Raises UserError for those of another structure;
    how many boxes are looked at may differ."""
    ours, theirs = config.head, settings_in(checkpoint, "head", HeadConfig())
    structure = {key: getattr(theirs, key) for key in ("head", "masks", "norm", "channels", "hidden", "anchor_scale")}
    check_settings(ours, replace(ours, **structure), checkpoint.origin)
    target, found = heads_in(model.state_dict()), heads_in(checkpoint.state)
    names = classes_of(checkpoint)
    rows = rows_by_name(classes, names)
    for name in found:
        if name in target and name.split(".")[-2] in BY_CLASS and name.startswith("roi_heads."):
            found[name] = _with_rows(target[name], found[name], len(classes), len(names), rows)
    check_heads(target, found, checkpoint.origin)
    return found, [rows_note(classes, [classes[row] for row in rows.values()], len(names))]


def _with_rows(ours: Tensor, theirs: Tensor, classes: int, known: int, rows: dict[int, int]) -> Tensor:
    """A layer with so many rows for each class, and perhaps one for the background, the last; as it is where it does
    not fit, which is told then."""
    background = {known: classes} if len(ours) == classes + 1 else {}
    each = len(ours) // (classes + len(background))
    if len(theirs) != each * (known + len(background)) or theirs.shape[1:] != ours.shape[1:]:
        return theirs
    mine, other = (weight.unflatten(0, (-1, each)) for weight in (ours, theirs))
    return with_rows(mine, other, rows | background).flatten(0, 1)
