"""Exported files in the place of trained models: what asks those, asks these."""

from pathlib import Path

import torch
from torch import nn

from gcvit.engine.config import override
from gcvit.errors import UserError, require
from gcvit.export.formats import BACKBONE, CODE
from gcvit.export.runtime import load
from gcvit.export.sidecar import read_sidecar
from gcvit.tasks import task_named
from gcvit.tasks.opened import Opened
from gcvit.weights.checks import check_answers


def open_exported(path: str | Path, *, trust_code: bool = False) -> Opened:
    """Open an exported model; its preprocessing's size is the one that it takes.

    trust_code: run what lies in a torch-export or aot file, as only whoever trusts its maker should.
    Raises UserError for a backbone, which says nothing of a picture; when the file or its sidecar is missing, damaged
    or changed since the export; when its runtime is not installed; and for a file of code that is not trusted.
    """
    path = Path(path)
    sidecar = read_sidecar(path)
    if sidecar.task == BACKBONE:
        raise UserError(f"{path} is a backbone, which gives maps of features and names nothing; export the whole model")
    task = task_named(sidecar.task)
    if sidecar.format in CODE and not trust_code:
        raise UserError(
            f"{path} is a program, which would be run with all your rights; if you trust whoever made it, add "
            f"--trust-code (onnx and openvino files are data and need no trust)"
        )
    program = load(path, sidecar.format)
    images = torch.zeros(()).expand(1, sidecar.in_chans, *sidecar.size)  # no memory before the file has agreed
    outputs = program(images)
    check_answers(outputs[0], str(path))
    try:
        if misfit := task.misfit(outputs, sidecar.classes, sidecar.settings):
            raise UserError(f"the file {misfit}")
        preprocessing = task.resized(override(task.preprocessing(), sidecar.preprocessing), sidecar.size)
        opened = Opened(
            task,
            nn.Identity(),
            sidecar.name,
            preprocessing,
            sidecar.classes,
            palette=sidecar.palette,
            source=str(path),
            exported=True,
        )
        task.transform(opened, task.looks())  # which refuses what cannot be
        channels = opened.pixels.channels
        require(channels == sidecar.in_chans, "mean", f"{channels} numbers", f"{sidecar.in_chans}, as many as channels")
        opened.model = task.from_export(program, opened, sidecar.size, sidecar.settings)
    except UserError as error:
        raise UserError(f"{path} does not go with its sidecar: {error}; export the model again") from error
    return opened
