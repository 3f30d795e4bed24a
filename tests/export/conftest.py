"""Small models in files of every format, each written once a process and not to be changed."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch

from gcvit.export.convert import convert
from gcvit.export.formats import SUFFIXES, Format
from gcvit.model.gcvit import GCViT
from laws.models import SMALL, small_model

Made = tuple[Path, GCViT]
"""A file, and the model that it holds, not folded."""


@pytest.fixture(scope="session")
def pyramid_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Format], Made]:
    """A backbone, which gives four maps, and whose windows leave a remainder in three stages."""

    @cache
    def make(to: Format) -> Made:
        model = small_model(dtype=torch.float32, head=False)
        path = tmp_path_factory.mktemp(to) / f"model{SUFFIXES[to]}"
        convert(model.fold(), path, to, SMALL.img_size)
        return path, model

    return make
