"""The models that runs start from, made for classes without any pictures of them."""

from collections.abc import Sequence
from typing import Any

import torch

from gcvit.data.label_maps import default_palette
from gcvit.tasks import task_for
from gcvit.tasks.backbone import prepare_to_train, starting_weights
from gcvit.tasks.config import RunConfig
from gcvit.tasks.opened import Opened
from gcvit.tasks.task import Data
from gcvit.tasks.train import make_plan


def built(config: RunConfig, classes: Sequence[str], device: str = "cpu") -> tuple[Opened, list[str]]:
    """What a run with these classes trains, and what it says about it."""
    none: Any = []
    data = Data(none, none, "no pictures", list(classes), default_palette(len(classes)))
    plan = make_plan(config, 100_000, torch.device(device))
    opened, notes = task_for(config).build(config, data, plan, starting_weights(config))
    return opened, notes + prepare_to_train(opened.model, config)
