"""What an export can be written as."""

from typing import Literal

Format = Literal["torch-export", "onnx", "openvino", "aot"]

SUFFIXES: dict[Format, str] = {
    "torch-export": ".pt2",
    "onnx": ".onnx",
    "openvino": ".xml",  # with the weights beside it, in a .bin
    "aot": ".aot.pt2",
}
IMAGES = "images"  # what a file calls its input
INT8: tuple[Format, ...] = ("onnx", "openvino")
CODE: tuple[Format, ...] = ("torch-export", "aot")
"""Programs rather than data: opening one runs what lies in it, pickles or a native library."""
