"""A small model in files of every format, each written once a process and not to be changed."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gcvit.export.convert import convert
from gcvit.export.formats import SUFFIXES, Format
from gcvit.export.runtime import Program, load
from gcvit.model.gcvit import GCViT
from laws.models import random_images, small_model

CHANNELS, SIZE = 5, (72, 100)  # of its images: not RGB, and windows stick out of the maps of all stages


class Everything(nn.Module):
    """Four maps and logits."""

    def __init__(self, model: GCViT) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = self.model.pyramid(images)
        return [*maps, self.model.classify(maps[-1])]


Made = tuple[Path, Program, Everything]
"""A file, the program that was loaded from it, and the model that it holds, not folded."""


def images(count: int, seed: int = 1) -> Tensor:
    """As the model takes them."""
    return random_images(count, *SIZE, channels=CHANNELS, seed=seed, dtype=torch.float32)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Format], Made]:
    """The file of a format."""

    @cache
    def make(to: Format) -> Made:
        model = small_model(dtype=torch.float32, in_chans=CHANNELS)
        path = tmp_path_factory.mktemp(to) / f"model{SUFFIXES[to]}"
        convert(Everything(model.fold()), path, to, SIZE)
        return path, load(path, to), Everything(model)

    return make
