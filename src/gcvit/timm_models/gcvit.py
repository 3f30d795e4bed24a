"""The names `gc_vit_*` in timm: what is known of each model, its published weights, and how it is built.

timm sorts models by the name of the module that registers them, and finds `default_cfgs` in it.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from timm.models import PretrainedCfg, build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

from gcvit.errors import UserError
from gcvit.model import VARIANTS, GCViTConfig
from gcvit.model.attention import resize_table, table_window
from gcvit.model.config import SMALLEST_SIDE, STAGES
from gcvit.timm_models.classifier import GCViT
from gcvit.weights.architecture import configuration
from gcvit.weights.catalogue import CATALOGUE, CatalogueEntry, default_entry
from gcvit.weights.checks import check_values
from gcvit.weights.hub import TIMM_FIELDS, pretrained_cfg, timm_name
from gcvit.weights.names import TABLE, State
from gcvit.weights.preprocessing import Preprocessing
from gcvit.weights.reading import Checkpoint, checkpoint_of, read_checkpoint

# timm's wrappers that fit, and the format of their maps: a hook sees a stage's own output.
FEATURE_FORMATS = {"getter": "NCHW", "hook": "NHWC"}


def checkpoint_filter_fn(state_dict: Mapping[str, Any], model: GCViT) -> State:
    """A state dict with the names of NVlabs, of timm's `gcvit_*` or our own, wrapped or not, as `model` has it. Bias
    tables are resized to its windows; classifier and first convolution stay, timm adapts them next.

    Raises UserError when it is no GC ViT's.
    """
    origin, target = "the checkpoint", model.state_dict()
    filtered = dict(checkpoint_of(state_dict, origin, Checkpoint({}, origin)).gcvit.state)
    check_values({name: x for name, x in filtered.items() if name in target}, origin, target)
    saved = {k: v for k, v in model.pretrained_model_args.items() if k in ("img_size", "windows")}
    stated = replace(model.config, **{"windows": None, **saved}).stage_windows if saved else ()
    for name, tensor in filtered.items():
        if name.endswith(TABLE) and tensor.ndim == 2:
            stage = int(name.split(".")[1])
            window = table_window(len(tensor), *stated[stage : stage + 1])
            if window is None:
                raise UserError(
                    f"{name} has {len(tensor)} rows, which no square window gives, and nothing says how wide its "
                    f"windows are; load it as a hub directory, with the config.json that says so"
                )
            filtered[name] = resize_table(tensor, window, model.config.stage_windows[stage])
    return filtered


def _cfg(row: GCViTConfig, preprocessing: Preprocessing, **source: Any) -> PretrainedCfg:
    return PretrainedCfg(
        min_input_size=(row.in_chans, SMALLEST_SIDE, SMALLEST_SIDE),
        pool_size=replace(row, img_size=preprocessing.size).map_sizes[-1],
        paper_ids="arXiv:2206.09959",
        **pretrained_cfg(row, preprocessing),
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
    cfg = kwargs.get("pretrained_cfg")
    if pretrained and isinstance(cfg, dict) and cfg.get("source") == "local-dir":
        configuration(read_checkpoint(Path(cfg["file"])))  # timm would build what is described before it reads weights
    feature_cls = kwargs.get("feature_cls", "getter")
    if feature_cls not in FEATURE_FORMATS:
        raise UserError(
            f"feature_cls must be {' or '.join(map(repr, FEATURE_FORMATS))}, not {feature_cls!r}: the other wrappers "
            f"would run or cut the stages in another order than the model does"
        )
    form = FEATURE_FORMATS[feature_cls]
    return build_model_with_cfg(
        GCViT,
        timm_name(variant),
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg={"out_indices": tuple(range(STAGES)), "feature_cls": feature_cls, "output_fmt": form},
        **(words | kwargs),
    )


def _entry_point(variant: str) -> Callable[..., nn.Module]:
    def build(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        return _create(variant, pretrained, **kwargs)

    build.__name__ = build.__qualname__ = timm_name(variant)
    build.__doc__ = f"`{variant}` as timm builds it; further words are those of the class `GCViT`."
    return build


# timm knows a model by the name and module of the function that builds it.
globals().update({timm_name(variant): register_model(_entry_point(variant)) for variant in VARIANTS})
