"""Runs exported files on the CPU: one function from images to tensors, whatever the runtime."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any
from zipfile import is_zipfile

import numpy as np
import torch
from torch import Tensor

import gcvit.tasks.detect.exported  # noqa: F401  # files of torch may call its operator
from gcvit.errors import UserError
from gcvit.export.formats import IMAGES, Format, openvino_core, package
from gcvit.internals.of_others import onnx_refusals
from gcvit.internals.of_torch import load_package

Program = Callable[[Tensor], list[Tensor]]
"""Preprocessed images (batch, channels, *size) fp32, any batch of at least 1 → the model's outputs, fp32 CPU tensors
that stay what they are when the program is called again."""


def load(path: str | Path, to: Format) -> Program:
    """Open an exported file, to be run on as many CPU threads as torch uses.

    torch-export and aot files run code that lies in them, the first by pickle, the second as a native library: open
    only those whose sidecar's hash fits and whose maker you trust. onnx and openvino files are data.
    Raises UserError when the file or the runtime's package is missing, or the runtime cannot read the file.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    return _LOADERS[to](path)


def _torch_export(path: Path) -> Program:
    with _readable(path, RuntimeError, ValueError, KeyError, TypeError, AttributeError, AssertionError):
        program = torch.export.load(_archive(path))
        ((example,), _) = program.example_inputs
        return _in_torch(program.module(), example.shape[1:])


def _aot(path: Path) -> Program:
    with _readable(path, RuntimeError, ValueError, KeyError):
        model = load_package(_archive(path))
        shape = [int(side) for side in model.get_metadata()[IMAGES].split(",")]
    return _in_torch(model, shape)


def _onnx(path: Path) -> Program:
    onnxruntime = package("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors; warnings speak of the graph's making
    with _readable(path, *onnx_refusals(), ValueError):
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        (images_in,) = session.get_inputs()

    def run(images: Tensor) -> list[Tensor]:
        _check(images, images_in.shape[1:])
        return [torch.from_numpy(found) for found in session.run(None, {images_in.name: _array(images)})]

    return run


def _openvino(path: Path) -> Program:
    openvino = package("openvino")
    with _readable(path, RuntimeError):
        model = openvino_core().read_model(path)
        # With shapes that it knows more is fused; and images go through a processor's cache best one at a time.
        shape = [side.get_length() for side in model.input().get_partial_shape()[1:]]
        model.reshape([1, *shape])
    queues: dict[str, Any] = {}
    lock = Lock()  # a queue tells one caller at a time what is done

    def queue(hint: str) -> Any:
        if hint not in queues:
            # It would compute in bf16 where the processor can.
            threads = torch.get_num_threads()
            settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": hint}
            with _readable(path, RuntimeError):
                queues[hint] = openvino.AsyncInferQueue(openvino_core().compile_model(model, "CPU", settings))
        return queues[hint]

    queue("LATENCY")  # what cannot be compiled is told now

    def run(images: Tensor) -> list[Tensor]:
        """All threads on one image, or images side by side."""
        _check(images, shape)
        with lock:
            return infer(images)

    def infer(images: Tensor) -> list[Tensor]:
        arrays, outputs = _array(images), [list[np.ndarray]()] * len(images)

        def keep(request: Any, image: int) -> None:
            outputs[image] = [tensor.data.copy() for tensor in request.output_tensors]

        waiting = queue("LATENCY" if len(images) == 1 else "THROUGHPUT")
        waiting.set_callback(keep)
        try:
            for image in range(len(images)):
                waiting.start_async([arrays[image : image + 1]], image, share_inputs=True)
        finally:  # after Ctrl+C, too: until then requests read `arrays`, and the queue takes no others
            waiting.wait_all()
        return [torch.from_numpy(np.concatenate(parts)) for parts in zip(*outputs, strict=True)]

    return run


_LOADERS: dict[Format, Callable[[Path], Program]] = {
    "torch-export": _torch_export,
    "aot": _aot,
    "onnx": _onnx,
    "openvino": _openvino,
}


def _check(images: Tensor, shape: Sequence[int]) -> None:
    """Raise UserError for images that the file does not take: OpenVINO would wait for ever after them, and a native
    library read memory that is not theirs."""
    if images.ndim != 4 or list(images.shape[1:]) != list(shape) or not len(images) or images.dtype != torch.float32:
        raise UserError(
            f"this file takes fp32 images of shape (batch, {', '.join(map(str, shape))}), at least one, not "
            f"{images.dtype} of {tuple(images.shape)}"
        )


def _array(images: Tensor) -> np.ndarray:
    return images.detach().contiguous().numpy()


def _in_torch(model: Callable[[Tensor], Tensor | Sequence[Tensor]], shape: Sequence[int]) -> Program:
    @torch.no_grad()
    def run(images: Tensor) -> list[Tensor]:
        _check(images, shape)
        found = model(images.contiguous())
        return [found] if isinstance(found, Tensor) else list(found)

    return run


@contextmanager
def _readable(path: Path, *refusals: type[Exception]) -> Iterator[None]:
    """Turns a runtime's own complaint about a file into ours."""
    try:
        yield
    except refusals as error:
        reason = [type(error).__name__, *str(error).strip().splitlines()][-1]  # the first lines say where in its source
        advice = "export the model again with the versions that are installed here"
        raise UserError(f"{path}: the runtime cannot open it ({reason[:200]}); {advice}") from error


def _archive(path: Path) -> str:
    """The path. torch would try a file that is no archive as what older versions wrote, and fail at length."""
    if not is_zipfile(path):
        raise UserError("it is no archive")
    return str(path)
