"""Weights and activations of linear layers in 8 bits, with ranges read off calibration images.

Weights use half of their range, -64 … 64: processors without VNNI add two products with activations of 0 … 255 in 16
bits, and cut off what does not fit. So a file computes the same everywhere.

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

from gcvit.export.formats import IMAGES, Format, openvino_core, package

FP32 = ["Convolution", "GroupConvolution", "ScaledDotProductAttention"]


def quantise(source: Path, target: Path, to: Format, calibration: Iterable[Tensor]) -> None:
    """Write the fp32 file `source` as `target`, with int8 linear layers.

    calibration: batches of preprocessed images."""
    if to == "onnx":
        _quantise_onnx(source, target, calibration)
        return
    model = quantise_openvino(openvino_core().read_model(source), calibration)
    package("openvino").save_model(model, target, compress_to_fp16=False)


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
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
            subset_size=len(batches),
            ignored_scope=nncf.IgnoredScope(types=FP32, validate=False),  # a classifier may lack one of them
        )


def _quantise_onnx(source: Path, target: Path, calibration: Iterable[Tensor]) -> None:
    """ONNX Runtime's static quantisation, per output channel."""
    quantization = package("onnxruntime.quantization")
    batches: Iterator[dict[str, np.ndarray]] = iter([{IMAGES: batch.numpy()} for batch in calibration])

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
            reduce_range=True,
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
