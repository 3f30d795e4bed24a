"""From contenders to models, ours and timm's. Those of one architecture, twins, get the same weights, and their outputs
must then agree."""

from collections.abc import Sequence
from typing import Any, Literal

import timm
import torch
from torch import Tensor, nn

from gcvit.bench.contenders import TIMM, Contender
from gcvit.bench.detectors import build_detector
from gcvit.errors import UserError
from gcvit.factory import create_model
from gcvit.model.config import Pair, Windows
from gcvit.model.gcvit import GCViT
from gcvit.tasks.pyramid import fold_heads
from gcvit.weights.loading import load_weights


def build(
    contenders: Sequence[Contender],
    size: Pair,
    *,
    part: Literal["model", "backbone", "mask-rcnn", "cascade"] = "model",
    windows: Windows | None = None,
    same_weights: bool = True,
    no_drop_path: bool = False,
) -> list[nn.Module]:
    """The models on the CPU in eval mode, for images of `size` pixels, with 1000 classes; folded where they are to be.

    part: "backbone" leaves final norm and head out and returns the stages' maps; "mask-rcnn" and "cascade" are
        detectors (see `build_detector`), which do not share weights. windows: ours, as in `create_model`.
    same_weights: contenders of one architecture share random weights, large enough that every branch matters; a
        backbone of timm's keeps its own.
    no_drop_path: set every model's rate to 0, since their defaults differ; it is work in training only.

    Raises UserError for a size that timm does not build a model for, or at which ours and timm's have other windows.
    """
    drop_path = 0.0 if no_drop_path else None
    if part in ("mask-rcnn", "cascade"):
        detectors = [(c, build_detector(c.name, part, size, windows, drop_path)) for c in contenders]
        return [fold_heads(model) if contender.folded else model for contender, model in detectors]
    models = [
        _create_timm(contender.name.removeprefix(TIMM), size, part, drop_path)
        if contender.from_timm
        else create_model(contender.name, img_size=size, windows=windows, head=part == "model", drop_path=drop_path)
        for contender in contenders
    ]
    if same_weights:
        for architecture in {twin_of(c, part) for c in contenders} - {None}:
            share_weights([m for c, m in zip(contenders, models, strict=True) if twin_of(c, part) == architecture])
    return [
        model.fold() if contender.folded and isinstance(model, GCViT) else model.eval()
        for contender, model in zip(contenders, models, strict=True)
    ]


def _create_timm(name: str, size: Pair, part: str, drop_path: float | None) -> nn.Module:
    """timm passes on no setting that is None, since not every model takes each."""
    published = timm.get_pretrained_cfg(name)
    settings: dict[str, Any] = {"drop_path_rate": drop_path}
    settings["img_size"] = size if published is not None and published.fixed_input_size else None
    settings |= {"num_classes": 1000} if part == "model" else {"features_only": True}
    try:
        try:
            return timm.create_model(name, **settings)
        except TypeError as error:
            if "drop_path_rate" not in str(error):
                raise
            return timm.create_model(name, **settings | {"drop_path_rate": None})  # it has no drop path
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"timm does not build {name} for {size[0]}×{size[1]} px: {error}") from error


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
