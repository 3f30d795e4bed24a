"""The paper's ablations: what they cost, to the digits that the definitions have, and that every task takes them."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from gcvit.bench.cost import macs, parameters
from gcvit.errors import UserError
from gcvit.model import VARIANTS, GCViT, GCViTConfig
from gcvit.model.config import DESIGN
from gcvit.opening import open as open_model
from gcvit.tasks.ablations import ABLATIONS
from gcvit.tasks.backbone import backbone_config, layers
from gcvit.tasks.classify.config import ClassifyConfig
from gcvit.tasks.classify.recipes import RECIPES
from gcvit.tasks.config import ArchConfig
from gcvit.tasks.detect.detector import Detector
from gcvit.tasks.detect.settings import HeadConfig
from gcvit.tasks.segment.segmenter import Segmenter
from gcvit.tasks.segment.settings import UPerNetConfig
from gcvit.weights.hub import save_hub
from gcvit.weights.preprocessing import Preprocessing
from laws.models import SMALL, random_images, small_model

# M parameters and GMACs at 224 px, as the ablations are defined; S.2's are differences from GC ViT-T.
COUNTED = {
    "table_4_swin": (28.288, 4.491),
    "table_4_no_shift": (28.288, 4.491),
    "table_4_reparam": (27.772, 4.554),
    "table_4_reparam_7": (27.69, 4.27),
    "table_4_stem": (27.814, 4.740),
    "table_4_downsampler": (28.807, 4.878),
    "table_5_conv_pool": (28.09, 5.24),
    "table_5_pool_conv": (28.09, 4.72),
    "table_5_merging": (27.23, 4.62),
}
APART = {
    "table_s2_v": (0, 0),
    "table_s2_v_projected": (1.155, 0.143),
    "table_s2_kv": (1.155, 0.106),
    "table_s2_kv_two": (-0.585, -0.117),
    "table_s2_kv_same": (-1.155, -0.180),
}


@cache
def counted(config: GCViTConfig) -> tuple[float, float]:
    with torch.device("meta"):
        model = GCViT(config)
    return parameters(model) / 1e6, macs(model, config.img_size) / 1e9


def design_of(name: str) -> dict[str, Any]:
    """Its changes without those of sizes."""
    return {key: value for key, value in ABLATIONS[name].changes.items() if key in ("blocks", *DESIGN)}


@pytest.mark.parametrize("name", COUNTED)
def test_tables_4_and_5_cost_what_they_are_defined_to(name: str) -> None:
    assert counted(ABLATIONS[name].config()) == pytest.approx(COUNTED[name], rel=1e-3)


def test_the_last_row_of_tables_4_and_5_and_s2_is_the_model() -> None:
    assert counted(VARIANTS["gcvit_tiny"]) == pytest.approx((28.222, 4.761), rel=1e-3)


@pytest.mark.parametrize("name", APART)
def test_table_s2_costs_what_it_is_defined_to(name: str) -> None:
    found, whole = counted(ABLATIONS[name].config()), counted(VARIANTS["gcvit_tiny"])
    for mine, full, apart in zip(found, whole, APART[name], strict=True):
        assert mine - full == pytest.approx(apart, abs=6e-4)


def test_step_5_of_table_4_is_the_model_without_generators_and_with_its_own_queries() -> None:
    """Parameter for parameter: what it has more is the queries' share of the linear layers."""
    names = {
        name: {key: p.numel() for key, p in GCViT(config).state_dict().items()}
        for name, config in (("step 5", replace(SMALL, blocks=("local", "local"))), ("whole", SMALL))
    }
    more, less = (set(names[a]) - set(names[b]) for a, b in (("step 5", "whole"), ("whole", "step 5")))
    assert {key.rpartition(".attention.")[2] for key in more} == {"qkv.weight", "qkv.bias"}
    assert {key.rpartition(".attention.")[2] for key in less if ".query." not in key} == {"kv.weight", "kv.bias"}


@pytest.mark.parametrize("name", ABLATIONS)
def test_a_recipe_trains_it_and_the_checkpoint_says_what_it_is(name: str, tmp_path: Path) -> None:
    config = RECIPES[name].config()
    assert backbone_config(config, None) == ABLATIONS[name].config()
    model = small_model(dtype=torch.float32, **design_of(name))
    save_hub(model, tmp_path, preprocessing=Preprocessing(SMALL.img_size))
    opened = open_model(tmp_path).model
    assert opened.config == model.config
    images = random_images(1, 96, 96, dtype=torch.float32)
    assert torch.equal(opened(images), model(images))


@pytest.mark.parametrize("name", ABLATIONS)
def test_each_is_a_backbone_of_segmentation_and_detection(name: str) -> None:
    backbone = GCViT(replace(SMALL, head=False, **design_of(name)))
    segmenter = Segmenter(backbone, 5, UPerNetConfig(channels=8, aux_channels=8)).eval()
    detector, images = Detector(backbone, 5, HeadConfig(channels=8)), torch.zeros(1, 3, 128, 100)
    with torch.no_grad():  # with numbers: of a small model torch computes these faster than shapes alone
        assert segmenter(images).logits.shape[1] == 5
        assert [m.shape[2:] for m in detector.backbone.pyramid(images)] == [(32, 25), (16, 13), (8, 7), (4, 4)]
    by_depth = [p for group in layers(segmenter) for part in group for p in part.parameters()]
    assert {id(p) for p in by_depth} == {id(p) for p in backbone.parameters()}


def test_an_ablation_is_laid_over_any_model_and_arch_over_it() -> None:
    config = ClassifyConfig(model="gcvit_pico", ablation="table_s2_v")
    assert backbone_config(config, None) == ABLATIONS["table_s2_v"].config("gcvit_pico")
    above = replace(config, arch=ArchConfig(blocks=("local", "global_kv"), position_bias=False))
    found = backbone_config(above, None)
    assert (found.blocks, found.position_bias) == (("local", "global_kv"), False)
    with pytest.raises(UserError, match="did you mean table_4_swin"):
        ClassifyConfig(ablation="table_4_swim")


def test_windows_of_an_ablation_are_its_own() -> None:
    config = ClassifyConfig(model="gcvit_tiny", windows=(8, 8, 8, 8), ablation="table_4_swin")
    assert backbone_config(config, None).stage_windows == ((7, 7),) * 4
