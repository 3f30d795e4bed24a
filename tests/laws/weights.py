"""Weights that matter: at initialisation scale even a grave bug hardly moves the logits."""

import zlib

import torch


@torch.no_grad()
def meaningful_weights(model, seed=0):
    """Fill a model's parameters in place, each from the seed, its name and its shape alone; returns the model.

    Every branch then contributes at order one: matrices keep the variance of what they read, bias tables
    spread by 0.5, gains and layer scales lie around 1, biases around 0.
    """
    for name, parameter in model.named_parameters():
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
        values = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        if name.endswith("bias.table"):
            values = 0.5 * values
        elif parameter.ndim > 1:
            values = values / parameter[0].numel() ** 0.5
        elif name.endswith(".bias"):
            values = 0.1 * values
        else:
            values = 1 + 0.1 * values
        parameter.copy_(values)
    return model
