"""A model by depth, for learning rates that fall from layer to layer."""

from torch import nn

from gcvit.engine.optim import Layers
from gcvit.model import GCViT


def layers(model: GCViT) -> Layers:
    """The model by depth, for layer-wise learning rates: the stem, then every block (with the first its stage's query
    generator) and downsampler. Norm and head lie on top."""
    found: list[list[nn.Module]] = [[model.stem]]
    for stage in model.stages:
        for position, block in enumerate(stage.blocks):
            found.append([block] if position else [stage.query, block])
        found.append([stage.downsample])
    return found[:-1]  # nothing leads down from the last stage
