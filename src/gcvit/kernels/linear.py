"""A linear layer and the GELU after it as one call of oneDNN, for inference on the CPU.

torch's own linear copies the bias into the result before it multiplies, and GELU reads and writes the result once
more; oneDNN does both while the result is in the cache.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gcvit.internals.of_torch import pointwise_linear


class InferenceLinear(nn.Linear):
    """What `linear` computes, with the weights of a linear layer (shared, not copied)."""

    def __init__(self, linear: nn.Linear, gelu: bool = False) -> None:
        super().__init__(linear.in_features, linear.out_features, linear.bias is not None, device="meta")
        self.weight, self.bias, self.gelu = linear.weight, linear.bias, gelu

    def forward(self, x: Float[Tensor, "*axes channels"]) -> Float[Tensor, "*axes outs"]:
        return linear(x, self.weight, self.bias, self.gelu)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, gelu={self.gelu}"


def linear(
    x: Float[Tensor, "*axes channels"], weight: Float[Tensor, "outs channels"], bias: Tensor | None, gelu: bool = False
) -> Float[Tensor, "*axes outs"]:
    """x Wᵀ + b, and its exact GELU if asked for: by oneDNN where `applies`, by torch's own functions elsewhere."""
    if applies(x, weight):
        fused = pointwise_linear()
        assert fused is not None
        return fused(x, weight, bias, "gelu" if gelu else "none", [], "none")
    x = F.linear(x, weight, bias)
    return F.gelu(x) if gelu else x


def applies(x: Tensor, weight: Tensor) -> bool:
    """float32 on the CPU, without gradients, autocast or tracing, in a torch that has the operator."""
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
        and not (torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad))
        and torch.backends.mkldnn.is_available()
        and pointwise_linear() is not None
    )
