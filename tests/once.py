"""What all processes of a run share: made by the first that asks, read by all."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

Once = Callable[[str, Callable[[Path], object]], Path]
"""`once(name, make)` is the folder of that name, which `make` fills in whichever process asks first; the others wait
for it. Do not change what lies in it."""


def once_in(factory: pytest.TempPathFactory) -> Once:
    place = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent  # a worker's own lies in that of the run

    def once(name: str, make: Callable[[Path], object]) -> Path:
        folder, whole = place / f"once-{name}", place / f"once-{name}.whole"
        with (place / f"once-{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not whole.exists():
                assert not folder.exists(), f"{folder} could not be made before"
                folder.mkdir()
                make(folder)
                whole.touch()
        return folder

    return once
