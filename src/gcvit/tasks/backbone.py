"""What tasks ask of the GC ViT in a model: to be made, to start from weights, to be frozen, and its order by depth."""

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from gcvit.engine.state import Layers
from gcvit.errors import UserError
from gcvit.factory import variant
from gcvit.model import GCViT, GCViTConfig
from gcvit.model.config import DESIGN, Pair
from gcvit.model.layers import DropPath
from gcvit.model.variants import nearest_variant
from gcvit.tasks.ablations import ablation
from gcvit.tasks.config import RunConfig
from gcvit.weights.architecture import read_off
from gcvit.weights.fetching import find
from gcvit.weights.hub import model_config
from gcvit.weights.reading import Checkpoint


def backbone_config(config: RunConfig, img_size: int | Pair | None, **head: object) -> GCViTConfig:
    """The architecture that a run asks for. head: fields of `GCViTConfig` about it. Raises UserError for what cannot
    be."""
    row = variant(config.model)
    ablated = ablation(config.ablation).changes if config.ablation else {}
    changes = {"windows": config.windows, **ablated, **config.arch.changes(), "in_chans": config.in_chans, **head}
    if config.drop_path is not None:
        changes["drop_path"] = config.drop_path
    size = row.img_size if img_size is None else img_size
    return replace(row, img_size=size, **changes)  # type: ignore[arg-type]


def backbone_of(model: nn.Module) -> GCViT:
    """The GC ViT that a model is or stands on."""
    found = model if isinstance(model, GCViT) else model.get_submodule("backbone")
    assert isinstance(found, GCViT)
    return found


def starting_weights(config: RunConfig) -> Checkpoint | None:
    """What a run starts from, if anything. Raises UserError when it cannot be read, and for stages that would be frozen
    without having learned anything."""
    source = config.model if config.pretrained else config.weights
    if config.pretrained and config.model == "auto":
        raise UserError("model is auto, that of the weights, and pretrained means those of the model; name the model")
    if source is None:
        if config.freeze_stages:
            raise UserError("freeze_stages keeps learned weights, but this run starts from none; give weights")
        return None
    return find(source)


def check_same_model(config: RunConfig, ours: GCViTConfig, checkpoint: Checkpoint, advice: str = "") -> None:
    """Raise UserError for the weights of another variant than ours, naming theirs and saying to take it, with `advice`
    to follow. Weights that do not say what they are, are left to `load_weights`."""
    checkpoint = checkpoint.gcvit
    if checkpoint.hub_config is not None:
        theirs = model_config(checkpoint.hub_config, checkpoint.origin)
    else:
        try:
            theirs = read_off(checkpoint)
        except UserError:
            return
    if structure(theirs) != structure(ours):
        name, _ = nearest_variant(theirs)
        raise UserError(
            f"{checkpoint.origin} holds the weights of {name}, but model is {config.model}"
            f"{' with another architecture (arch)' if name == config.model else f'; set model to {name}{advice}'}"
        )


def prepare_to_train(model: nn.Module, config: RunConfig) -> list[str]:
    """Freeze stages and keep less for the backward pass, as the run asks; says what a person should know.

    The stem and the first stages become fixed features, with the downsampler that follows them: without gradients, and
    without drop path, the only noise that a run can put there.
    """
    backbone = backbone_of(model)
    backbone.set_grad_checkpointing(config.grad_checkpointing)
    if not config.freeze_stages:
        return []
    for part in (backbone.stem, *backbone.stages[: config.freeze_stages]):
        part.requires_grad_(False)
        for module in part.modules():
            if isinstance(module, DropPath):
                module.rate = 0.0
    learned = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    what = "the first stage" if config.freeze_stages == 1 else f"the first {config.freeze_stages} stages"
    return [f"the stem and {what} stay as they are; {learned / 1e6:.2f} M parameters are trained"]


def layers(model: nn.Module) -> Layers:
    """The backbone by depth, for layer-wise learning rates: the stem, then every block (with the first its stage's
    query generator) and downsampler. Everything else lies on top."""
    backbone = backbone_of(model)
    found: list[Sequence[nn.Module]] = [[backbone.stem]]
    for stage in backbone.stages:
        for position, block in enumerate(stage.blocks):
            found.append([block] if position or stage.query is None else [stage.query, block])
        found.append([stage.downsample])
    return found[:-1]  # nothing leads down from the last stage


def structure(config: GCViTConfig) -> tuple[object, ...]:
    """What two configurations of one architecture have in common, whatever their image sizes, windows and rates."""
    design = (getattr(config, name) for name in ("blocks", *DESIGN))
    queries = config.query_mbconvs if config.generators else None
    return config.dim, config.depths, config.heads, config.mlp_ratio, config.layer_scale is None, queries, *design
