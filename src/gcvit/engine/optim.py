"""AdamW with the settings of one run, and the parts of it that are functions of the step."""

from dataclasses import dataclass

import torch
from timm.optim import create_optimizer_v2
from torch import nn

from gcvit.engine.config import require


@dataclass(frozen=True)
class OptimConfig:
    """How the weights are optimised: AdamW, warm-up and cosine, clipping, a moving average of the weights.

    Raises ValueError, naming the setting, for a value out of range.
    """

    lr: float = 1e-3
    """Peak learning rate."""
    lr_batch: int | None = None
    """Batch size that lr is meant for; another one scales lr by its share of this. None: lr as it is."""
    layer_decay: float | None = None
    """Factor of the learning rate from each layer to the one below it, above 0 to 1, for fine-tuning; none: the same
    rate everywhere."""
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
    cooldown_epochs: float = 0.0
    """Last epochs of the run, at min_lr."""
    warmup_lr: float = 1e-6
    """Learning rate of the first step when there is a warm-up."""
    min_lr: float = 5e-6
    """Learning rate at the end."""
    ema_decay: float | None = 0.9998
    """Decay per step of the moving average of the weights that is evaluated and saved, at most 1 - n^(-2/3)
    after n steps; none: no average, the weights themselves."""

    def __post_init__(self) -> None:
        require(0 < self.lr < float("inf"), "lr", self.lr, "above 0")
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


def create_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """Fused AdamW over the model's trainable parameters, with timm's split into decayed and not decayed.

    One-dimensional parameters (biases, norms, layer scales) and those that the model itself lists in
    `no_weight_decay()` are not decayed.
    """
    return create_optimizer_v2(
        model,
        opt="adamw",
        lr=config.lr,
        weight_decay=config.weight_decay,
        betas=config.betas,
        eps=config.eps,
        fused=True,
    )
