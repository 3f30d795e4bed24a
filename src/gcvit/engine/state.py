"""All that training changes, and AdamW with the settings of one run, which changes the weights."""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from gcvit import distributed
from gcvit.engine.settings import OptimConfig
from gcvit.errors import UserError, shown
from gcvit.wording import listed

Layers = Sequence[Sequence[nn.Module]]
"""A model from its input on, each layer as the modules that belong to it; what is in none of them lies on top."""


class State:
    """The weights, their moving average, the optimiser and the step counter.

    The model must be on its device already. `forward` is what a training step calls: the model itself or, among
    several processes, its wrapper that averages the gradients over them (and makes all start from rank 0's weights).
    `layers` are the optimiser's, for layer_decay.
    """

    def __init__(self, model: nn.Module, optim: OptimConfig, layers: Layers = ()) -> None:
        self.model = model
        self.forward = model
        if distributed.world_size() > 1:
            distributed.wait()  # for whoever reads its data slower
            # Weights of one input channel have gradients whose strides differ in an axis of length one.
            warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
            # Without the search for unused ones, buckets are put in another order after the first step, and sums of
            # three and more then differ in the last bit from those of a run that goes on. On a GPU they may. (torch
            # warns that it found none.)
            exact = next(model.parameters()).device.type == "cpu"
            self.forward = DistributedDataParallel(model, gradient_as_bucket_view=True, find_unused_parameters=exact)
        self.optimizer = create_optimizer(model, optim, layers)
        self.ema = None
        if optim.ema_decay is not None:
            self.ema = ModelEmaV3(model, optim.ema_decay, use_warmup=optim.ema_warmup)
        self.step = 0

    @property
    def result(self) -> nn.Module:
        """The model to evaluate and save: the moving average where there is one."""
        return self.model if self.ema is None else self.ema.module


def create_optimizer(model: nn.Module, config: OptimConfig, layers: Layers = ()) -> torch.optim.Optimizer:
    """Fused AdamW over the model's trainable parameters. `layers` are needed for, and only used by, layer_decay.

    Raises UserError as `check_parts` does.
    """
    groups = parameter_groups(model, config, layers)
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=True)


def parameter_groups(model: nn.Module, config: OptimConfig, layers: Layers = ()) -> list[dict[str, Any]]:
    """Every trainable parameter in one group, with its weight_decay and the `lr_scale` of its layer and its part.

    One-dimensional parameters (biases, norms, layer scales) are not decayed. With layer_decay the scale is 1 on top
    and falls by that factor with every layer below; otherwise it is 1. The factor of `lr_parts` comes on top of it.
    """
    assert layers or config.layer_decay is None, "layer_decay needs to know the model's layers"
    check_parts(model, config)
    top = len(layers)
    depth = {weight: level for level, layer in enumerate(layers) for module in layer for weight in module.parameters()}
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            continue
        decay = config.weight_decay if weight.ndim > 1 else 0.0
        scale = 1.0 if config.layer_decay is None else config.layer_decay ** (top - depth.get(weight, top))
        scale *= _factor(name, config)
        group = groups.setdefault((scale, decay), {"params": [], "weight_decay": decay, "lr_scale": scale})
        group["params"].append(weight)
    return list(groups.values())


def check_parts(model: nn.Module, config: OptimConfig) -> None:
    """Raise UserError, with the parts that there are, for a name in `lr_parts` of which the model has no weights."""
    names = [name for name, _ in model.named_parameters()]
    for part, _ in config.lr_parts:
        if not any(_is_in(name, part) for name in names):
            parts = list(dict.fromkeys(name.partition(".")[0] for name in names))
            raise UserError(
                f"lr_parts: the model has no part {shown(part)}; it has {listed(parts, 16)}, and what is in them has "
                f"names with dots, such as {names[0].rpartition('.')[0] or names[0]}"
            )


def _factor(name: str, config: OptimConfig) -> float:
    """Of the learning rate of a weight: that of the smallest part which it is in."""
    factors = {part: factor for part, factor in config.lr_parts if _is_in(name, part)}
    return factors[max(factors, key=len)] if factors else 1.0


def _is_in(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")
