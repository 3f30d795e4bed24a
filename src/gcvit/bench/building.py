"""From contenders to models, ours and timm's."""

from collections.abc import Sequence
from typing import Any, Literal

import timm
from torch import nn

from gcvit.bench.contenders import TIMM, Contender
from gcvit.bench.detectors import build_detector
from gcvit.bench.twins import share_weights, twin_of
from gcvit.errors import UserError
from gcvit.factory import create_model
from gcvit.model.config import Pair, Windows
from gcvit.model.gcvit import GCViT
from gcvit.tasks.pyramid import fold_heads


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
