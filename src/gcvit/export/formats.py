"""What an export can be written as."""

from gcvit.weights.resolve import SUFFIXES, Format

__all__ = ["CODE", "IMAGES", "INT8", "SUFFIXES", "Format"]

IMAGES = "images"  # what a file calls its input
INT8: tuple[Format, ...] = ("onnx", "openvino")
CODE: tuple[Format, ...] = ("torch-export", "aot")
"""Programs rather than data: opening one runs what lies in it, pickles or a native library."""
