"""Packages that show the names of their modules, and load a module when one of its names is first asked for (PEP 562):
who imports `gcvit.model.config` needs no torch, although `gcvit.model` shows `GCViT` too.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module


def shown_on_demand(
    package: str, names: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package. names: what it shows, by the module in it that this is in.

    A package has the same imports under TYPE_CHECKING, and these functions elsewhere, or every name would be one for a
    type checker. No name may be that of a module.
    """

    def found(name: str) -> object:
        if name in names:
            return import_module(f"{package}.{name}")
        for module, shown in names.items():
            if name in shown:
                value = getattr(import_module(f"{package}.{module}"), name)
                setattr(sys.modules[package], name, value)  # the next time it is there
                return value
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def listed() -> list[str]:
        return sorted({*vars(sys.modules[package]), *names, *(name for shown in names.values() for name in shown)})

    return found, listed
