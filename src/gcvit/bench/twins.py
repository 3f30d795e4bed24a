"""Contenders of one architecture: they get the same weights, and their outputs must then agree."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gcvit.bench.contenders import Contender
from gcvit.errors import UserError
from gcvit.model.gcvit import GCViT
from gcvit.weights.loading import load_weights


def twin_of(contender: Contender, part: str) -> str | None:
    """The architecture whose weights it shares, if it does: timm's names inside its backbones are others."""
    return None if contender.from_timm and part == "backbone" else contender.architecture


class Twins:
    """Outputs of the first contender of each architecture, for those of the same weights to be compared with.

    part: of the models, "model" or "backbone". tolerance: the largest difference that is no mistake.
    """

    def __init__(self, part: str, tolerance: float) -> None:
        self.part, self.tolerance = part, tolerance
        self.firsts: dict[str, tuple[Contender, list[Tensor]]] = {}

    def difference(self, contender: Contender, outputs: Tensor | Sequence[Tensor]) -> float | None:
        """‖Δ‖ / ‖first‖ over all outputs; None where no earlier twin is. Raises UserError above the tolerance, except
        for int8, which is no twin's equal."""
        architecture = twin_of(contender, self.part)
        if architecture is None:
            return None
        found = [x.detach().float().cpu() for x in ([outputs] if isinstance(outputs, Tensor) else outputs)]
        if architecture not in self.firsts:
            self.firsts[architecture] = contender, found
            return None
        first, expected = self.firsts[architecture]
        difference = _norm([a - b for a, b in zip(found, expected, strict=True)]) / _norm(expected)
        if not difference <= self.tolerance and "int8" not in contender.forms:
            raise UserError(
                f"{contender} and {first} have the same weights, but their outputs differ by {difference:.1e} "
                f"(more than {self.tolerance:.0e}), so they are not the same model and their speeds say nothing; "
                f"leave one out, or compare without the same weights"
            )
        return difference


def tolerance(precision: str, device: torch.device) -> float:
    """How far equal models may be apart: bfloat16 rounds at other places in one than in the other, and on a GPU torch's
    fp32 convolutions take tf32."""
    if precision != "fp32":
        return 0.1
    return 1e-4 if device.type == "cpu" else 3e-3


def _norm(outputs: Sequence[Tensor]) -> float:
    return sum((x.double().norm() ** 2).item() for x in outputs) ** 0.5


def share_weights(models: Sequence[nn.Module]) -> None:
    """timm's, if one is there, are the source: ours take any layout."""
    source = next((model for model in models if not isinstance(model, GCViT)), models[0])
    fill(source)
    state = source.state_dict()
    for model in models:
        if isinstance(model, GCViT):
            report = load_weights(model, state)
            if report.resized:
                raise UserError(
                    f"for this size ours and timm's have windows of other sizes ({report}); take a multiple of 32 px "
                    f"from 128 on, or compare without the same weights"
                )
        else:
            model.load_state_dict(state)


@torch.no_grad()
def fill(model: nn.Module) -> None:
    """Random weights that matter: at initialisation even a wrong block would hardly move the logits. Matrices keep
    the variance of what they read, bias tables spread by 0.5, gains and layer scales lie around 1, biases around 0."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        values = torch.randn(parameter.shape, generator=generator)
        if name.endswith(("bias_table", "bias.table")):
            parameter.copy_(0.5 * values)
        elif parameter.ndim > 1:
            parameter.copy_(values / parameter[0].numel() ** 0.5)
        elif name.endswith(".bias"):
            parameter.copy_(0.1 * values)
        else:
            parameter.copy_(1 + 0.1 * values)
