"""The names `gc_vit_*` in timm: what is known of each model, its published weights, and how it is built.

timm sorts models by the name of the module that registers them, and finds `default_cfgs` in it.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from math import isqrt
from typing import Any

from timm.models import PretrainedCfg, build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from gcvit.model import VARIANTS, GCViTConfig
from gcvit.model.attention import resize_table
from gcvit.model.config import SMALLEST_SIDE, STAGES, Pair
from gcvit.timm_models.classifier import GCViT
from gcvit.weights.catalogue import CATALOGUE, CatalogueEntry, default_entry
from gcvit.weights.hub import TIMM_FIELDS, timm_name
from gcvit.weights.names import DERIVED, layout_of, table
from gcvit.weights.preprocessing import Preprocessing
from gcvit.weights.reading import State, unwrap

# timm's wrappers that fit, and the format of their maps: a hook sees a stage's own output.
FEATURE_FORMATS = {"getter": "NCHW", "hook": "NHWC"}


def checkpoint_filter_fn(state_dict: Mapping[str, Any], model: GCViT) -> State:
    """A state dict with the names of NVlabs, of timm's `gcvit_*` or our own, wrapped or not, as `model` has it. Bias
    tables are resized to its windows; classifier and first convolution stay, timm adapts them next.

    Raises ValueError when it is no GC ViT's.
    """
    state = unwrap(state_dict, "the checkpoint")
    layout = layout_of(state)
    if layout is None:
        raise ValueError(f"the checkpoint is not a GC ViT's; its first names are {', '.join(list(state)[:4])}")
    rows = table(replace(model.config, num_classes=model.config.num_classes or 1))
    ours = {getattr(row, layout): row.gcvit for row in rows}
    saved = {k: v for k, v in model.pretrained_model_args.items() if k in ("img_size", "windows")}
    old = replace(model.config, **{"windows": None, **saved}).stage_windows if saved else None
    filtered = {}
    for name, tensor in state.items():
        if name.endswith(DERIVED):
            continue
        name = ours.get(name, name)
        if ".squeeze_excite." in name:
            tensor = tensor.flatten(1)  # timm's are 1×1 convolutions
        if name.endswith(".bias.table"):
            stage = int(name.split(".")[1])
            window = old[stage] if old else _square_window(name, tensor)
            tensor = resize_table(tensor, window, model.config.stage_windows[stage])
        filtered[name] = tensor
    return filtered


def _square_window(name: str, bias: Tensor) -> Pair:
    side = (isqrt(len(bias)) + 1) // 2
    if (2 * side - 1) ** 2 != len(bias):
        raise ValueError(
            f"{name} has {len(bias)} rows, which no square window gives, and nothing says how wide its windows are; "
            f"load it as a hub directory, with the config.json that says so"
        )
    return side, side


def _cfg(row: GCViTConfig, preprocessing: Preprocessing, **source: Any) -> PretrainedCfg:
    return PretrainedCfg(
        input_size=(row.in_chans, *preprocessing.size),
        min_input_size=(row.in_chans, SMALLEST_SIDE, SMALLEST_SIDE),
        pool_size=replace(row, img_size=preprocessing.size).map_sizes[-1],
        interpolation=preprocessing.interpolation,
        crop_pct=preprocessing.crop_pct,
        crop_mode=preprocessing.crop_mode,
        mean=preprocessing.mean,
        std=preprocessing.std,
        num_classes=row.num_classes,
        first_conv="stem.conv",
        classifier="head",
        paper_ids="arXiv:2206.09959",
        **source,
    )


def _published(entry: CatalogueEntry) -> PretrainedCfg:
    """`custom_load` has timm hand the file to `GCViT.load_pretrained`: the published ones hold more than weights."""
    if entry.location.startswith("https://"):
        source: dict[str, Any] = {"url": entry.url, "custom_load": True}
    else:
        source = {"hf_hub_id": entry.location, "hf_hub_filename": entry.file, "custom_load": "hf"}
    return _cfg(
        VARIANTS[entry.model],
        entry.preprocessing,
        license="cc-by-nc-sa-4.0",
        origin_url="https://github.com/NVlabs/GCVit",
        **source,
    )


CFGS: dict[str, dict[str, Any] | PretrainedCfg] = {
    **{timm_name(entry.name): _published(entry) for entry in CATALOGUE.values()},
    **{
        timm_name(name): _cfg(row, Preprocessing(row.img_size))
        for name, row in VARIANTS.items()
        if default_entry(name) is None
    },
}
default_cfgs = generate_default_cfgs(CFGS)


def _create(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    row = VARIANTS[variant]
    words = {
        TIMM_FIELDS.get(field.name, field.name): getattr(row, field.name)
        for field in fields(row)
        if field.name not in ("in_chans", "num_classes", "head")  # timm takes these from the weights' cfg
    }
    feature_cls = kwargs.get("feature_cls", "getter")
    if feature_cls not in FEATURE_FORMATS:
        raise ValueError(
            f"feature_cls must be {' or '.join(map(repr, FEATURE_FORMATS))}, not {feature_cls!r}: the other wrappers "
            f"would run or cut the stages in another order than the model does"
        )
    return build_model_with_cfg(
        GCViT,
        timm_name(variant),
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg={
            "out_indices": tuple(range(STAGES)),
            "feature_cls": feature_cls,
            "output_fmt": FEATURE_FORMATS[feature_cls],
        },
        **(words | kwargs),
    )


@register_model
def gc_vit_xxtiny(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """`gcvit_xxtiny`."""
    return _create("gcvit_xxtiny", pretrained, **kwargs)


@register_model
def gc_vit_xtiny(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """`gcvit_xtiny`."""
    return _create("gcvit_xtiny", pretrained, **kwargs)


@register_model
def gc_vit_tiny(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """`gcvit_tiny`."""
    return _create("gcvit_tiny", pretrained, **kwargs)


@register_model
def gc_vit_tiny2(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """`gcvit_tiny2`."""
    return _create("gcvit_tiny2", pretrained, **kwargs)


@register_model
def gc_vit_small(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """`gcvit_small`."""
    return _create("gcvit_small", pretrained, **kwargs)


@register_model
def gc_vit_small2(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """`gcvit_small2`."""
    return _create("gcvit_small2", pretrained, **kwargs)


@register_model
def gc_vit_base(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """`gcvit_base`."""
    return _create("gcvit_base", pretrained, **kwargs)


@register_model
def gc_vit_large(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """`gcvit_large`."""
    return _create("gcvit_large", pretrained, **kwargs)


@register_model
def gc_vit_large_21k(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """`gcvit_large_21k`."""
    return _create("gcvit_large_21k", pretrained, **kwargs)


@register_model
def gc_vit_large_384_21k(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """`gcvit_large_384_21k`."""
    return _create("gcvit_large_384_21k", pretrained, **kwargs)


@register_model
def gc_vit_large_512_21k(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """`gcvit_large_512_21k`."""
    return _create("gcvit_large_512_21k", pretrained, **kwargs)


@register_model
def gc_vit_nano(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """`gcvit_nano`."""
    return _create("gcvit_nano", pretrained, **kwargs)


@register_model
def gc_vit_pico(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """`gcvit_pico`."""
    return _create("gcvit_pico", pretrained, **kwargs)
