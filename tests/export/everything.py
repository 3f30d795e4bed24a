"""A model that gives four maps and logits, and its files, which several tests read."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from gcvit.export.convert import convert
from gcvit.export.formats import SUFFIXES, Format
from gcvit.model.gcvit import GCViT
from laws.models import random_images, small_model
from once import Once

CHANNELS, SIZE = 5, (72, 100)  # of its images: not RGB, and windows stick out of the maps of all stages
Files = Callable[[Format], Path]


class Everything(nn.Module):
    """Four maps and logits."""

    def __init__(self, model: GCViT) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = self.model.pyramid(images)
        return [*maps, self.model.classify(maps[-1])]


def model() -> GCViT:
    """Not folded; twice as wide as other tests' lest graphs be larger than weights."""
    return small_model(dtype=torch.float32, in_chans=CHANNELS, dim=16)


def images(count: int, seed: int = 1) -> Tensor:
    """As it takes them."""
    return random_images(count, *SIZE, channels=CHANNELS, seed=seed, dtype=torch.float32)


def write(once: Once, to: Format) -> Path:
    """The file of a format, made of the folded model. Do not change it."""
    name = f"model{SUFFIXES[to]}"
    folder = once(f"everything-{to}", lambda folder: convert(Everything(model().fold()), folder / name, to, SIZE))
    return folder / name
