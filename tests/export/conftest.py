"""Files that take long to make and are only read."""

from functools import partial

import pytest

from once import Once

from .everything import Files, write


@pytest.fixture(scope="session")
def everything(once: Once) -> Files:
    """The file of a format of the model that gives all it has. Do not change it."""
    return partial(write, once)
