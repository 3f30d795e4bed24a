"""The packages that only exports need."""

from importlib import import_module
from types import ModuleType


def package(name: str) -> ModuleType:
    """An optional package. Raises ValueError, naming the extra to install, when it is missing."""
    try:
        return import_module(name)
    except ImportError as error:
        raise ValueError(f'this needs {name}, which is not here: pip install "gcvit[export]"') from error
