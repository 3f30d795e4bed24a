"""Models in timm's hub format: a directory with `config.json` and `model.safetensors`.

timm loads such a directory (`timm.create_model("local-dir:PATH")`, after `import gcvit`), and so does the hub.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

from safetensors.torch import save
from torch import nn

from gcvit.files import write_atomically
from gcvit.model import VARIANTS, GCViT, GCViTConfig
from gcvit.model.attention import FixedBias
from gcvit.model.config import PUBLISHED_RATIOS, Pair
from gcvit.model.variants import nearest_variant
from gcvit.weights.preprocessing import Preprocessing
from gcvit.weights.reading import CONFIG_FILE, WEIGHTS_FILE

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
    Raises ValueError when the number of labels is not the number of classes, or the model is a backbone or folded.
    """
    config = model.config
    check_not_folded(model)
    if not config.head:
        raise ValueError("the hub format is for classifiers; this model is a backbone (head=False)")
    if labels is not None and len(labels) != config.num_classes:
        raise ValueError(f"{len(labels)} labels for {config.num_classes} classes")
    return write_model(model, directory, hub_config(config, preprocessing, labels), metadata)


def check_not_folded(model: GCViT) -> None:
    """Raises ValueError for a folded copy: its weights are not the model's any more."""
    if any(isinstance(block.attention.bias, FixedBias) for stage in model.stages for block in stage.blocks):
        raise ValueError("a folded copy cannot be saved in the hub format; save the model that it was made from")


def write_model(
    model: nn.Module, directory: str | Path, config: Mapping[str, object], metadata: Mapping[str, str] | None
) -> Path:
    """Write `config` as config.json and the model's weights beside it, each file in one step."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    content = json.dumps(config, indent=2, ensure_ascii=False)
    write_atomically(directory / CONFIG_FILE, content.encode())
    write_atomically(directory / WEIGHTS_FILE, save(state, metadata={"format": "pt", **(metadata or {})}))
    return directory


def hub_config(config: GCViTConfig, preprocessing: Preprocessing, labels: Sequence[str] | None) -> dict:
    """timm's `config.json`: the variant's name, what differs from it, and the preprocessing."""
    variant, overrides = nearest_variant(config)
    model_args = {TIMM_FIELDS.get(name, name): value for name, value in overrides.items()}
    for name in ("num_classes", "head"):
        model_args.pop(name, None)
    content: dict[str, object] = {
        "architecture": timm_name(variant),
        "num_classes": config.num_classes,
        "num_features": config.channels[-1],
        "model_args": model_args,
        "pretrained_cfg": {
            "input_size": [config.in_chans, *preprocessing.size],
            "interpolation": preprocessing.interpolation,
            "crop_pct": preprocessing.crop_pct,
            "crop_mode": preprocessing.crop_mode,
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
            "num_classes": config.num_classes,
            "first_conv": "stem.conv",
            "classifier": "head",
        },
    }
    if labels is not None:
        content["label_names"] = list(labels)
    return content


def model_config(hub: dict, origin: str) -> GCViTConfig:
    """The model that a `config.json` describes. Raises ValueError when it is no GC ViT of ours or of timm's."""
    if "task" in hub:
        raise ValueError(
            f"{origin}: a model for the task {hub['task']!r}, not a classifier; use `gcvit eval {hub['task']}` or "
            f"`gcvit predict {hub['task']}`"
        )
    architecture = str(hub.get("architecture", ""))
    name = "gcvit_" + architecture.removeprefix(TIMM_PREFIX).removeprefix("gcvit_")
    if name not in VARIANTS:
        raise ValueError(f"{origin}: its architecture is {architecture!r}, which is not a GC ViT that we know")
    ours = {theirs: mine for mine, theirs in TIMM_FIELDS.items()}
    known = {f.name for f in fields(GCViTConfig)}
    arguments = {ours.get(key, key): value for key, value in _object(hub, "model_args").items()}
    arguments.pop("global_pool", None)  # timm writes its choice of head; ours always averages
    if unknown := sorted(set(arguments) - known):
        raise ValueError(f"{origin}: model_args that a GC ViT does not take: {', '.join(unknown)}")
    try:
        config = replace(VARIANTS[name], **({"num_classes": hub.get("num_classes", 1000)} | arguments))
    except ValueError as error:
        raise ValueError(f"{origin}: {error}") from error
    if architecture == name and "img_size" in arguments:  # timm's own rule for windows, which knows no least size
        height, width = config.img_size
        config = replace(config, windows=tuple((height // r, width // r) for r in PUBLISHED_RATIOS))
    return config


def windows_of(hub: dict) -> tuple[Pair, ...]:
    """The windows of the model that a `config.json` describes."""
    return model_config(hub, CONFIG_FILE).stage_windows


def preprocessing_of(hub: dict) -> Preprocessing:
    """The preprocessing in a `config.json`; what it does not say is ImageNet's."""
    cfg, default = _object(hub, "pretrained_cfg"), Preprocessing()
    return Preprocessing(
        size=tuple(cfg.get("input_size", (3, *default.size))[-2:]),
        crop_pct=cfg.get("crop_pct", default.crop_pct),
        crop_mode=cfg.get("crop_mode", default.crop_mode),
        interpolation=cfg.get("interpolation", default.interpolation),
        mean=tuple(cfg.get("mean", default.mean)),
        std=tuple(cfg.get("std", default.std)),
    )


def labels_of(hub: dict) -> list[str] | None:
    """The class names in a `config.json`, in the order of the logits."""
    names = hub.get("label_names") or _object(hub, "pretrained_cfg").get("label_names")
    if isinstance(names, dict):  # timm's other form, by index; there may be gaps
        by_index = {int(index): name for index, name in names.items()}
        names = [by_index.get(i, i) for i in range(hub.get("num_classes", max(by_index) + 1))]
    return [str(name) for name in names] if names else None


def _object(hub: dict, key: str) -> dict:
    value = hub.get(key, {})
    if not isinstance(value, dict):
        raise ValueError(f"{key} in {CONFIG_FILE} should be a JSON object, not {value!r}")
    return value
