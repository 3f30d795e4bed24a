"""The packages that only exports need."""

from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

from gcvit.errors import UserError
from gcvit.shell import install


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
