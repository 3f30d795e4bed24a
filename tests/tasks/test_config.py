"""The settings of every task: every bad value is named, and the whole architecture can be set."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from gcvit.engine.config import as_dict, load_config, override, save_config
from gcvit.factory import variant
from gcvit.model import GCViTConfig
from gcvit.tasks.backbone import backbone_config
from gcvit.tasks.classify import ClassifyConfig
from gcvit.tasks.config import ArchConfig, RunConfig
from gcvit.tasks.segment import SegmentConfig

every_config = pytest.mark.parametrize("config", [ClassifyConfig(), SegmentConfig()], ids=["classify", "segment"])


@every_config
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"accumulate": 0}, "accumulate must be at least 1"),
        ({"train_images": 0}, "train_images must be at least 1"),
        ({"eval_every": 0}, "eval_every must be at least 1"),
        ({"keep_checkpoints": 0}, "keep_checkpoints must be at least 1"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"workers": -1}, "workers must be at least 0"),
        ({"val_fraction": 0.0}, "val_fraction must be"),
        ({"val_fraction": 1.0}, "val_fraction must be"),
        ({"drop_path": 1.0}, "drop_path must be"),
        ({"drop_path": -0.1}, "drop_path must be"),
        ({"pretrained": True, "weights": "x"}, "two starting points"),
        ({"epochs": 3, "steps": 3}, "counted in epochs or in steps, and epochs is 3, steps 3"),
        ({"epochs": None, "steps": None}, "epochs is None, steps None; set one of them"),
        ({"freeze_stages": 5}, "freeze_stages must be from 0 to 4"),
        ({"grad_checkpointing": 1}, "'grad_checkpointing' must be true or false"),
        ({"bad_images": "ignore"}, "'bad_images' must be 'error' or 'skip'"),
        ({"max_bad_images": 2}, "max_bad_images must be a share"),
        ({"arch": {"depths": [2, 2, 2]}}, r"'arch\.depths' must be a list of 4"),
        ({"arch": {"layer_scale": "on"}}, r"'arch\.layer_scale' must be a number or 'off'"),
        ({"arch": {"depht": [2, 2, 2, 2]}}, "did you mean 'arch.depths'"),
        ({"optim": {"lr": float("nan")}}, "lr must be above 0, not nan"),
        ({"optim": {"clip_grad": 0}}, "clip_grad must be above 0"),
        ({"optim": {"betas": [0.9, 1.0]}}, "betas must be two numbers"),
        ({"optim": {"ema_decay": 1.0}}, "ema_decay must be"),
        ({"optim": {"lr_batch": 0}}, "lr_batch must be at least 1"),
        ({"optim": {"layer_decay": 0}}, "layer_decay must be above 0"),
        ({"optim": {"schedule": "poly"}}, "'optim.schedule' must be 'cosine' or 'linear'"),
        ({"augment": {"hflip": 2}}, "hflip must be a probability"),
    ],
)
def test_a_bad_value_is_named(config: RunConfig, values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        override(config, values)


# Fields of the architecture that no run chooses: its data have the classes, its task the head.
GIVEN = {"num_classes", "head"}
CHANGED: dict[str, Any] = {
    "dim": 48,
    "depths": (2, 3, 2, 4),
    "heads": (2, 2, 4, 8),
    "mlp_ratio": 2.5,
    "layer_scale": 1e-3,
    "query_mbconvs": (1, 2, 1, 1),
    "blocks": ("global", "global_kv"),
    "stem": "patch",
    "downsampler": "patch_merging",
    "squeeze_excite": False,
    "query_convolutions": False,
    "query_resize": "bilinear",
    "position_bias": False,
    "mask_padding": False,
    "dropout": 0.1,
    "attention_dropout": 0.2,
    "head_dropout": 0.3,
}


def test_every_field_of_the_architecture_can_be_set() -> None:
    model, arch, run = ({field.name for field in fields(kind)} for kind in (GCViTConfig, ArchConfig, RunConfig))
    assert arch == CHANGED.keys()
    assert arch <= model
    assert model - arch - run == GIVEN
    assert not arch & (run | GIVEN)


@every_config
@pytest.mark.parametrize("form", ["toml", "json"])
@pytest.mark.parametrize("name", CHANGED)
def test_a_changed_field_reaches_the_model_from_any_file(
    config: RunConfig, name: str, form: str, tmp_path: Path
) -> None:
    file = tmp_path / f"run.{form}"
    if form == "toml":
        file.write_text(f"[arch]\n{name} = {json.dumps(CHANGED[name])}\n")  # these values are spelt alike in both
    else:
        save_config(replace(config, arch=ArchConfig(**{name: CHANGED[name]})), file)
    found = load_config(config, file)
    usual = backbone_config(config, 64)
    assert getattr(usual, name) != CHANGED[name]
    assert backbone_config(found, 64) == replace(usual, **{name: CHANGED[name]})
    assert override(config, as_dict(found)) == found


def test_the_scale_of_the_branches_can_be_left_out() -> None:
    config = override(ClassifyConfig(model="gcvit_small"), {"arch": {"layer_scale": "off"}})
    assert variant("gcvit_small").layer_scale is not None
    assert backbone_config(config, None).layer_scale is None


@every_config
def test_an_architecture_that_cannot_be_is_refused(config: RunConfig) -> None:
    for arch, message in (({"depths": (2, 1, 2, 2)}, "depths must be 4 whole numbers from 2"), ({"dim": -3}, "dim")):
        with pytest.raises(ValueError, match=message):
            backbone_config(replace(config, arch=ArchConfig(**arch)), 64)
