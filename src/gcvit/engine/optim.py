"""AdamW with the settings of one run: its peak rate and its groups of parameters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from gcvit.engine.config import require
from gcvit.engine.schedule import Shape

Layers = Sequence[Sequence[nn.Module]]
"""A model from its input on, each layer as the modules that belong to it; what is in none of them lies on top."""


@dataclass(frozen=True)
class OptimConfig:
    """How the weights are optimised: AdamW, warm-up and decay, clipping, a moving average of the weights."""

    lr: float = 1e-3
    """Peak learning rate."""
    schedule: Shape = "cosine"
    """How it falls from there to min_lr; linear is also called poly."""
    lr_batch: int | None = None
    """Batch size that lr is meant for; another one scales lr by its share of this. None: lr as it is."""
    layer_decay: float | None = None
    """Factor of the learning rate from each layer (block, downsampler, stem) to the one below it, above 0 to 1, for
    fine-tuning; none: the same rate everywhere."""
    weight_decay: float = 0.05
    """Decoupled; on matrices, convolutions and position bias tables, not on biases, norms and scales."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of AdamW's two moments."""
    eps: float = 1e-8
    """Added to the root of the second moment."""
    clip_grad: float | None = 5.0
    """Largest norm of all gradients together; none: no limit."""
    warmup_epochs: float = 1.0
    """Epochs, also fractions, of linear warm-up from warmup_lr; they are part of the run's epochs."""
    warmup_steps: int | None = None
    """Steps of warm-up in the place of warmup_epochs; none: those epochs."""
    cooldown_epochs: float = 0.0
    """Last epochs of the run, at min_lr."""
    warmup_lr: float = 1e-6
    """Learning rate of the first step when there is a warm-up."""
    min_lr: float = 5e-6
    """Learning rate at the end."""
    ema_decay: float | None = 0.9998
    """Decay per step of the moving average of the weights that is evaluated and saved; none: no average, the weights
    themselves."""
    ema_warmup: bool = True
    """Start with a shorter average: its decay is at most 1 - n^(-2/3) after n steps."""

    def __post_init__(self) -> None:
        """Raises ValueError, naming the setting, for a value out of range."""
        require(0 < self.lr < float("inf"), "lr", self.lr, "above 0")
        require(self.warmup_steps is None or self.warmup_steps >= 0, "warmup_steps", self.warmup_steps, "at least 0")
        require(self.lr_batch is None or self.lr_batch >= 1, "lr_batch", self.lr_batch, "at least 1, or none")
        decay = self.layer_decay
        require(decay is None or 0 < decay <= 1, "layer_decay", decay, "above 0, at most 1, or none")
        require(self.eps > 0, "eps", self.eps, "above 0")
        require(all(0 <= beta < 1 for beta in self.betas), "betas", self.betas, "two numbers from 0 to below 1")
        require(self.clip_grad is None or self.clip_grad > 0, "clip_grad", self.clip_grad, "above 0, or none")
        for key in ("weight_decay", "warmup_epochs", "cooldown_epochs", "warmup_lr", "min_lr"):
            require(0 <= getattr(self, key) < float("inf"), key, getattr(self, key), "at least 0")
        require(
            self.ema_decay is None or 0 <= self.ema_decay < 1,
            "ema_decay",
            self.ema_decay,
            "from 0 to below 1, or none",
        )

    def peak_lr(self, batch_size: int) -> float:
        """The peak learning rate of updates from `batch_size` images: linear in it where lr_batch is given."""
        return self.lr if self.lr_batch is None else self.lr * batch_size / self.lr_batch

    def describe_lr(self, batch_size: int) -> str:
        """The peak learning rate, and how it came about, in words."""
        said = f"peak learning rate {self.peak_lr(batch_size):.4g} at {batch_size} images per update"
        if self.lr_batch not in (None, batch_size):
            said += f": {self.lr:g} was set for {self.lr_batch}, and it scales with the batch"
        if self.layer_decay is not None:
            said += f"; ×{self.layer_decay:g} for each layer further from the head"
        return said


def create_optimizer(model: nn.Module, config: OptimConfig, layers: Layers = ()) -> torch.optim.Optimizer:
    """Fused AdamW over the model's trainable parameters. `layers` are needed for, and only used by, layer_decay."""
    groups = parameter_groups(model, config, layers)
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=True)


def parameter_groups(model: nn.Module, config: OptimConfig, layers: Layers = ()) -> list[dict[str, Any]]:
    """Every trainable parameter in one group, with its weight_decay and the `lr_scale` of its layer.

    One-dimensional parameters (biases, norms, layer scales) are not decayed. With layer_decay the scale is 1 on top
    and falls by that factor with every layer below; otherwise it is 1.
    """
    assert layers or config.layer_decay is None, "layer_decay needs to know the model's layers"
    top = len(layers)
    depth = {weight: level for level, layer in enumerate(layers) for module in layer for weight in module.parameters()}
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for weight in model.parameters():
        if not weight.requires_grad:
            continue
        decay = config.weight_decay if weight.ndim > 1 else 0.0
        scale = 1.0 if config.layer_decay is None else config.layer_decay ** (top - depth.get(weight, top))
        group = groups.setdefault((scale, decay), {"params": [], "weight_decay": decay, "lr_scale": scale})
        group["params"].append(weight)
    return list(groups.values())
