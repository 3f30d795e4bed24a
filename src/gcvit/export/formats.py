"""What of a model can be exported, what it can be written as, and the packages that only exports need."""

from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, Literal

from gcvit.errors import UserError
from gcvit.shell import install
from gcvit.weights.resolve import SUFFIXES as SUFFIXES
from gcvit.weights.resolve import Format

Part = Literal["model", "backbone"]
BACKBONE = "backbone"  # what a sidecar has in the place of a task
IMAGES = "images"  # what a file calls its input
INT8: tuple[Format, ...] = ("onnx", "openvino")
CODE: tuple[Format, ...] = ("torch-export", "aot")
"""Programs rather than data: opening one runs what lies in it, pickles or a native library."""
PACKAGES: dict[Format, tuple[str, ...]] = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("openvino",)}


def packages_of(to: Format, *, int8: bool) -> tuple[str, ...]:
    """What a format needs beside torch."""
    found = PACKAGES.get(to, ())
    return (*found, "nncf") if int8 and to == "openvino" else found


def package(name: str) -> ModuleType:
    """An optional package. Raises UserError, naming the extra to install, when it is missing."""
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(f"this needs {name}, which is not installed; {install('export')}") from error


@cache
def openvino_core() -> Any:
    """The process's one OpenVINO Core, made before any that another package makes, and kept for good.

    Each Core gives the thread a stack for signal handlers and unmaps it when it goes. Of two that go in the order in
    which they came the second brings the first one's stack back, and the next signal (Ctrl+C, a child's end) kills.
    """
    return package("openvino").Core()
