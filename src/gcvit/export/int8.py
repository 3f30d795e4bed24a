"""Weights and activations of linear layers in 8 bits, with ranges read off calibration images.

Attention's products, convolutions and norms stay in fp32. They are little of the arithmetic; and OpenVINO 2026.4 gets
quantised convolutions wrong in some of its own modes (shapes that are not known, or fusion switched off).
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from gcvit.export.packages import openvino_core, package

FP32 = ["Convolution", "GroupConvolution", "ScaledDotProductAttention"]


def quantise_openvino(model: Any, calibration: Iterable[Tensor]) -> Any:
    """The model with int8 linear layers (NNCF, post-training, asymmetric activations, smooth quantisation)."""
    nncf = package("nncf")
    openvino_core()
    batches = [batch.numpy() for batch in calibration]
    with _silent("nncf"):
        return nncf.quantize(
            model,
            nncf.Dataset(batches),
            model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(batches),
            ignored_scope=nncf.IgnoredScope(types=FP32, validate=False),  # a classifier may lack one of them
        )


def quantise_onnx(source: Path, target: Path, name: str, calibration: Iterable[Tensor]) -> None:
    """Write the model in `source` with int8 linear layers, per output channel (ONNX Runtime's static quantisation).
    name: of the images."""
    quantization = package("onnxruntime.quantization")
    batches: Iterator[dict[str, np.ndarray]] = iter([{name: batch.numpy()} for batch in calibration])

    class Batches(quantization.CalibrationDataReader):
        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(batches, None)

    with _silent("root"):
        quantization.quantize_static(
            source,
            target,
            Batches(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )


@contextmanager
def _silent(logger: str) -> Iterator[None]:
    """Without a line for every layer and bars among a command's results; errors are told."""
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        log.setLevel(level)
