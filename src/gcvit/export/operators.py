"""Operators of ours in ONNX's."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch.export import ExportedProgram

import gcvit.tasks.detect.exported  # noqa: F401  which makes torch know the operator
from gcvit.export.packages import package

UNSUPPRESSED = torch.ops.gcvit.unsuppressed.default


def has_ours(program: ExportedProgram) -> bool:
    """Whether the program calls operators that other runtimes know only from here."""
    return any(node.target is UNSUPPRESSED for node in program.graph.nodes)


@cache
def translations() -> dict[Callable, Callable]:
    """For torch's exporter: what writes each of them as ONNX."""
    op: Any = package("onnxscript").opset18

    def suppression(boxes: Any, scores: Any, iou: float, most: int) -> Any:
        """ONNX names those that are kept, (group, class, box) each, in a list of any length."""
        limits = (op.Constant(value_ints=[most]), op.Constant(value_floats=[iou]), op.Constant(value_floats=[0.0]))
        kept = op.NonMaxSuppression(boxes, op.Unsqueeze(scores, [1]), *limits)
        where = op.Gather(kept, op.Constant(value_ints=[0, 2]), axis=1)
        none = op.Expand(op.Constant(value_float=0.0), op.Shape(scores))
        ones = op.Expand(op.Constant(value_float=1.0), op.Shape(kept, start=0, end=1))
        return op.Greater(op.ScatterND(none, where, ones), op.Constant(value_float=0.5))

    return {UNSUPPRESSED: suppression}
