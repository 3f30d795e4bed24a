"""Writes a model as one file of another runtime. What is written is not checked here (see `gcvit.export.check`)."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

import gcvit.tasks.detect.exported  # noqa: F401  which makes torch know the operator
from gcvit.errors import UserError
from gcvit.export.channels_first import ChannelsFirst, channels_first
from gcvit.export.formats import IMAGES, INT8, Format, package
from gcvit.export.int8 import quantise
from gcvit.internals.of_torch import compile_package, get_cpp_compiler
from gcvit.model.config import Pair, check_sides
from gcvit.model.gcvit import GCViT

EXAMPLES = 2  # a batch of 1 would be taken for a constant
UNSUPPRESSED = torch.ops.gcvit.unsuppressed.default  # an operator of ours


def convert(
    model: nn.Module,
    path: Path,
    to: Format,
    size: Pair,
    *,
    outputs: Sequence[str] = (),
    calibration: Iterable[Tensor] | None = None,
) -> None:
    """Write `model` as `path`: any batch of at least 1, images of `size` (height, width) in pixels.

    The model maps images (batch, channels, *size) in fp32 to a tensor or a list of them. outputs: their names, or the
    first of these; none: logits, or stage1 … stage4. A GC ViT in it is folded; a model without one takes 3 channels.
    calibration: batches of preprocessed images, for int8 (onnx and openvino, see `gcvit.export.int8`). openvino writes
    a .bin beside its .xml.

    Raises UserError for a format without int8, a missing package or compiler, and a size that the model does not take.
    """
    check_sides(*size)
    if calibration is not None and to not in INT8:
        raise UserError(f"there is no int8 for {to}; there is for {' and '.join(INT8)}")
    if to in ("torch-export", "aot"):
        program = _trace(model, size)
        if to == "aot":
            _compile(program, path)
            return
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "No complete tensor found")  # biases that are parts of one tensor
            torch.export.save(program, path)
        return
    if calibration is not None:
        with TemporaryDirectory(dir=path.parent, prefix=".fp32-") as folder:
            whole = Path(folder) / path.name
            convert(model, whole, to, size, outputs=outputs)
            quantise(whole, path, to, calibration)
        return
    program = _trace(channels_first(model), size)
    (_openvino if to == "openvino" else _onnx)(program, path, _names(program, outputs))


@torch.no_grad()
def _trace(model: nn.Module, size: Pair) -> ExportedProgram:
    images = torch.zeros(EXAMPLES, _channels(model), *size)
    return torch.export.export(model.eval(), (images,), dynamic_shapes=({0: Dim("batch")},))


def _channels(model: nn.Module) -> int:
    """Of the images: a segmentation model's own first convolution may be one of its heads."""
    for module in model.modules():
        if isinstance(module, GCViT | ChannelsFirst):
            return (module.stem.conv if isinstance(module, GCViT) else module.conv).in_channels
    return 3


def require_compiler() -> None:
    """Raise UserError when there is none of C++, which aot needs."""
    try:
        get_cpp_compiler()
    except RuntimeError as error:
        raise UserError("aot needs a C++ compiler: install g++, or name one in CXX; or use openvino") from error


def _compile(program: ExportedProgram, path: Path) -> None:
    require_compiler()
    shape = ",".join(map(str, program.example_inputs[0][0].shape[1:]))
    # Weights in the processor's own layout. The library checks nothing: what it takes is noted down.
    compile_package(program, str(path), {"freezing": True, "aot_inductor.metadata": {IMAGES: shape}})


def _onnx(program: ExportedProgram, path: Path, outputs: list[str], *, optimize: bool = True) -> None:
    package("onnxscript")
    made: Any = torch.onnx.export(
        program,
        (),
        dynamo=True,
        input_names=[IMAGES],
        output_names=outputs,
        dynamic_shapes=({0: "batch"},),
        custom_translation_table=translations() if has_ours(program) else None,
        optimize=optimize,
        verbose=False,
    )
    made.save(path)


def _openvino(program: ExportedProgram, path: Path, outputs: list[str]) -> None:
    openvino = package("openvino")
    with TemporaryDirectory(dir=path.parent, prefix=".onnx-") as folder:
        source: Any = program
        if has_ours(program):  # which it knows by ONNX's names only; it optimises by itself
            source = Path(folder) / "model.onnx"
            _onnx(program, source, outputs, optimize=False)
        model = openvino.convert_model(source)
        model.reshape([-1, *program.example_inputs[0][0].shape[1:]])
        for port, name in zip([*model.inputs, *model.outputs], [IMAGES, *outputs], strict=True):
            port.get_tensor().set_names({name})
        openvino.save_model(model, path, compress_to_fp16=False)


def _names(program: ExportedProgram, outputs: Sequence[str]) -> list[str]:
    count = len(program.graph_signature.user_outputs)
    if outputs:
        return list(outputs[:count])
    return ["logits"] if count == 1 else [f"stage{number + 1}" for number in range(count)]


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
