"""What of a model can be exported, and what it can be written as."""

from typing import Literal

from gcvit.weights.resolve import SUFFIXES, Format

__all__ = ["BACKBONE", "CODE", "IMAGES", "INT8", "SUFFIXES", "Format", "Part"]

Part = Literal["model", "backbone"]
BACKBONE = "backbone"  # what a sidecar has in the place of a task
IMAGES = "images"  # what a file calls its input
INT8: tuple[Format, ...] = ("onnx", "openvino")
CODE: tuple[Format, ...] = ("torch-export", "aot")
"""Programs rather than data: opening one runs what lies in it, pickles or a native library."""
