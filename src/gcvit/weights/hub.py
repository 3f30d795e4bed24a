"""Models in timm's hub format: a directory with `config.json` and `model.safetensors`.

timm loads such a directory (`timm.create_model("local-dir:PATH")`, after `import gcvit`), and so does the hub.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import nn

from gcvit.errors import UserError, naming
from gcvit.files import write_atomically
from gcvit.model import VARIANTS, GCViT, GCViTConfig
from gcvit.model.config import MOST_CLASSES, PUBLISHED_RATIOS
from gcvit.model.variants import nearest_variant
from gcvit.weights.preprocessing import Preprocessing
from gcvit.weights.resolve import CONFIG_FILE, WEIGHTS_FILE
from gcvit.wording import composed, listed

# timm's name for a model of ours, and its constructor's words for the fields that it already had a word for.
TIMM_PREFIX = "gc_vit_"
TIMM_FIELDS = {
    "drop_path": "drop_path_rate",
    "dropout": "proj_drop_rate",
    "attention_dropout": "attn_drop_rate",
    "head_dropout": "drop_rate",
}


def timm_name(variant: str) -> str:
    """gcvit_tiny -> gc_vit_tiny: timm's own `gcvit_*` are another implementation with other weight names."""
    return TIMM_PREFIX + variant.removeprefix("gcvit_")


def save_hub(
    model: GCViT,
    directory: str | Path,
    *,
    preprocessing: Preprocessing,
    labels: Sequence[str] | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write a model as a hub directory; a model that is there already is replaced, each file in one step.

    labels: class names in the order of the logits. metadata: strings for the head of the safetensors file.
    Raises UserError when the number of labels is not the number of classes, or the model is a backbone or folded.
    """
    config = model.config
    check_not_folded(model)
    if not config.head:
        raise UserError("the hub format is for classifiers; this model is a backbone (head=False)")
    if labels is not None and len(labels) != config.num_classes:
        raise UserError(f"{len(labels)} labels for {config.num_classes} classes")
    return write_model(model, directory, hub_config(config, preprocessing, labels), metadata)


def check_not_folded(model: GCViT) -> None:
    """Raises UserError for a folded copy: its weights are not the model's any more."""
    if model.folded:
        raise UserError("a folded copy cannot be saved in the hub format; save the model that it was made from")


def write_model(
    model: nn.Module, directory: str | Path, config: Mapping[str, object], metadata: Mapping[str, str] | None
) -> Path:
    """Write `config` as config.json and the model's weights beside it, each file in one step."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    content = json.dumps(config, indent=2, ensure_ascii=False, allow_nan=False)
    # Names of folders that are no UTF-8 come as halves of pairs, which JSON spells as Python does.
    write_atomically(directory / CONFIG_FILE, content.encode(errors="backslashreplace"))
    write_atomically(directory / WEIGHTS_FILE, save(state, metadata={"format": "pt", **(metadata or {})}))
    return directory


def hub_config(config: GCViTConfig, preprocessing: Preprocessing, labels: Sequence[str] | None) -> dict:
    """timm's `config.json`: the variant's name, what differs from it, and the preprocessing."""
    variant, overrides = nearest_variant(config)
    elsewhere = ("num_classes", "head")
    model_args = {TIMM_FIELDS.get(name, name): value for name, value in overrides.items() if name not in elsewhere}
    content: dict[str, object] = {
        "architecture": timm_name(variant),
        "num_classes": config.num_classes,
        "num_features": config.channels[-1],
        "model_args": model_args,
        "pretrained_cfg": pretrained_cfg(config, preprocessing),
    }
    if preprocessing.value_range is not None:  # not beside mean and std: timm refuses keys there that it does not know
        content["value_range"] = list(preprocessing.value_range)
    if labels is not None:
        content["label_names"] = list(labels)
    return content


def pretrained_cfg(config: GCViTConfig, preprocessing: Preprocessing) -> dict[str, Any]:
    """What timm calls so: how pictures are prepared, and where a model's first and last layers are."""
    return {
        "input_size": (config.in_chans, *preprocessing.size),
        "interpolation": preprocessing.interpolation,
        "crop_pct": preprocessing.crop_pct,
        "crop_mode": preprocessing.crop_mode,
        "mean": preprocessing.mean,
        "std": preprocessing.std,
        "num_classes": config.num_classes,
        "first_conv": "stem.conv",
        "classifier": "head",
    }


def model_config(hub: dict, origin: str) -> GCViTConfig:
    """The model that a `config.json` describes. Raises UserError when it is no GC ViT of ours or of timm's, and for
    values of another type or beyond what a `GCViTConfig` may be."""
    if task := hub.get("task"):
        raise UserError(
            f"{origin}: a model for the task {task!r:.80}, not a classifier; `gcvit.open`, `gcvit eval` and "
            "`gcvit predict` take it"
        )
    architecture = hub.get("architecture", "")
    name = "gcvit_" + str(architecture).removeprefix(TIMM_PREFIX).removeprefix("gcvit_")
    if name not in VARIANTS:
        raise UserError(f"{origin}: its architecture is {architecture!r:.80}, which is not a GC ViT that we know")
    ours = {theirs: mine for mine, theirs in TIMM_FIELDS.items()}
    known = {f.name for f in fields(GCViTConfig)} - {"head"}  # the format is for classifiers
    arguments = {ours.get(key, key): value for key, value in object_in(hub, "model_args", origin, {}).items()}
    arguments.pop("global_pool", None)  # timm writes its choice of head; ours always averages
    if unknown := sorted(set(arguments) - known):
        raise UserError(f"{origin}: model_args that a GC ViT does not take: {listed(unknown)}")
    with naming(origin):
        config = replace(VARIANTS[name], **({"num_classes": hub.get("num_classes", 1000)} | arguments))
        if architecture == name and "img_size" in arguments:  # timm's own rule for windows, which knows no least size
            height, width = config.img_size
            config = replace(config, windows=tuple((height // r, width // r) for r in PUBLISHED_RATIOS))
    return config


def states_windows(hub: dict) -> bool:
    """Whether a `config.json` says of its own what the windows are; else they are its variant's."""
    return not {"img_size", "windows"}.isdisjoint(hub.get("model_args", {}))


def preprocessing_of(hub: dict, origin: str = CONFIG_FILE) -> Preprocessing:
    """The preprocessing in a `config.json`; what it does not say is ImageNet's. Raises UserError for a value of another
    type or out of range."""
    cfg = object_in(hub, "pretrained_cfg", origin, {})
    known: dict[str, Any] = {
        key: _tuples(cfg[key]) for key in ("crop_pct", "crop_mode", "interpolation", "mean", "std") if key in cfg
    }
    size = cfg.get("input_size", (3, *Preprocessing.size))
    if not isinstance(size, list | tuple) or len(size) != 3:
        raise UserError(f"{origin}: input_size should be channels, height and width, not {size!r:.80}")
    with naming(origin):
        return Preprocessing(size=(size[1], size[2]), value_range=_tuples(hub.get("value_range")), **known)


def labels_of(hub: dict, origin: str = CONFIG_FILE) -> list[str] | None:
    """The class names in a `config.json`, in the order of the logits and in Unicode's composed form; numbers
    become texts.

    Raises UserError when they are something else, or not as many as the classes that it states."""
    names = hub.get("label_names") or object_in(hub, "pretrained_cfg", origin, {}).get("label_names")
    if not names:
        return None
    count = hub.get("num_classes")
    if isinstance(names, dict):  # timm's other form, by index; there may be gaps
        if not all(str(index).isdecimal() and len(str(index)) < 10 for index in names):
            raise UserError(f"{origin}: label_names should go by the numbers of the classes, not {names!r:.80}")
        by_index = {int(index): name for index, name in names.items()}
        most = max(by_index) + 1
        count = most if count is None else count
        if not isinstance(count, int) or not most <= count <= MOST_CLASSES:
            raise UserError(f"{origin}: label_names for class {most - 1} of {count!r:.80} classes")
        names = [by_index.get(i, i) for i in range(count)]
    if not isinstance(names, list) or not all(isinstance(name, str | int | float) for name in names):
        raise UserError(f"{origin}: label_names should be a list of names, not {names!r:.80}")
    if count is not None and len(names) != count:
        raise UserError(f"{origin}: {len(names):,} labels for {count!r:.80} classes")
    return [composed(str(name)) for name in names]


def object_in(hub: dict | None, key: str, origin: str, missing: object = None) -> dict:
    """The JSON object under a key of a `config.json`. Raises UserError when it is something else."""
    value = (hub or {}).get(key, missing)
    if not isinstance(value, dict):
        raise UserError(f"{origin}: {key} should be a JSON object, not {value!r:.80}")
    return value


def _tuples(value: Any) -> Any:
    """JSON knows lists alone."""
    return tuple(value) if isinstance(value, list) else value
