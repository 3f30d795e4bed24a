"""The detector that a run starts from."""

import re
from dataclasses import replace
from functools import partial

from torch import nn

from gcvit.engine.loop import Plan
from gcvit.model import GCViT
from gcvit.tasks.backbone import backbone_config
from gcvit.tasks.detect.config import DetectConfig
from gcvit.tasks.detect.detector import Detector
from gcvit.tasks.detect.mmdet import adopted
from gcvit.tasks.detect.settings import DetectPreprocessing, HeadConfig
from gcvit.tasks.headed import check_settings, mean_std, settings_in, start_from
from gcvit.tasks.opened import Opened
from gcvit.tasks.task import Data, Task
from gcvit.weights.names import State
from gcvit.weights.reading import Checkpoint

BY_CLASS = re.compile(r"roi_heads\..*\.(classifier|regressor)\.")  # layers with so many rows for each class


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
        checkpoint = adopted(task, checkpoint)
        settle = partial(_settle, config, checkpoint)
        notes += start_from(model, config, checkpoint, task, data.classes, BY_CLASS, settle)
    if plan.share.ranks > 1 and plan.device.type == "cuda":
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    pixels = config.normalised(*mean_std(checkpoint, config))
    preprocessing = DetectPreprocessing(config.size, config.long, **pixels)
    return Opened(task, model, config.model, preprocessing, data.classes, palette=data.palette), notes


def _settle(config: DetectConfig, checkpoint: Checkpoint, target: State, found: State) -> list[str]:
    """See `start_from`: how many boxes are looked at may differ."""
    ours, theirs = config.head, settings_in(checkpoint, "head", HeadConfig())
    structure = {key: getattr(theirs, key) for key in ("head", "masks", "norm", "channels", "hidden", "anchor_scale")}
    check_settings(ours, replace(ours, **structure), checkpoint.origin)
    return []
