"""Renaming tables between our state dict and the two published ones. Pure data: no weight is touched here."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from gcvit.model.config import STAGES, GCViTConfig

Layout = Literal["gcvit", "nvlabs", "timm"]
# A name that only this layout has tells which one a state dict follows.
MARKS: dict[Layout, str] = {
    "gcvit": "stem.conv.weight",
    "nvlabs": "patch_embed.proj.weight",
    "timm": "stem.conv1.weight",
}
# Buffers that follow from the window's size.
DERIVED = ("relative_position_index",)


@dataclass(frozen=True)
class Row:
    """One parameter's name in each layout."""

    gcvit: str
    nvlabs: str
    timm: str


def layout_of(state: Mapping[str, object]) -> Layout | None:
    """The layout whose names a state dict has, None when it is no GC ViT's."""
    return next((layout for layout, mark in MARKS.items() if mark in state), None)


def table(config: GCViTConfig) -> list[Row]:
    """Every parameter of a model, in each layout."""
    return [
        *_both("stem.conv", "patch_embed.proj", "stem.conv1"),
        *_downsample("stem.downsample", "patch_embed.conv_down", "stem.down"),
        *(row for stage in range(STAGES) for row in _stage(config, stage)),
        *(_both("norm", "norm", f"stages.{STAGES - 1}.norm") if config.head else ()),
        *(_both("head", "head", "head.fc") if config.head and config.num_classes else ()),
    ]


def _stage(config: GCViTConfig, stage: int) -> Iterator[Row]:
    ours, nvlabs, timm = f"stages.{stage}", f"levels.{stage}", f"stages.{stage}"
    for k in range(config.query_mbconvs[stage]):
        yield from _mbconv(
            f"{ours}.query.mbconvs.{k}",
            f"{nvlabs}.q_global_gen.to_q_global.{k}.conv",
            f"{timm}.global_block.blocks.conv{k + 1}",
        )
    for j in range(config.depths[stage]):
        yield from _block(f"{ours}.blocks.{j}", f"{nvlabs}.blocks.{j}", f"{timm}.blocks.{j}", j, config)
    if stage + 1 < STAGES:
        yield from _downsample(f"{ours}.downsample", f"{nvlabs}.downsample", f"stages.{stage + 1}.downsample")


def _block(ours: str, nvlabs: str, timm: str, position: int, config: GCViTConfig) -> Iterator[Row]:
    projection = "qkv" if position % 2 == 0 else "kv"
    for name, theirs in (
        ("norm1", "norm1"),
        (f"attention.{projection}", "attn.qkv"),
        ("attention.proj", "attn.proj"),
        ("norm2", "norm2"),
        ("mlp.fc1", "mlp.fc1"),
        ("mlp.fc2", "mlp.fc2"),
    ):
        yield from _both(f"{ours}.{name}", f"{nvlabs}.{theirs}", f"{timm}.{theirs}")
    bias = "relative_position_bias_table"
    yield Row(f"{ours}.attention.bias.table", f"{nvlabs}.attn.{bias}", f"{timm}.attn.rel_pos.{bias}")
    if config.layer_scale is not None:
        yield Row(f"{ours}.scale1.gamma", f"{nvlabs}.gamma1", f"{timm}.ls1.gamma")
        yield Row(f"{ours}.scale2.gamma", f"{nvlabs}.gamma2", f"{timm}.ls2.gamma")


def _downsample(ours: str, nvlabs: str, timm: str) -> Iterator[Row]:
    yield from _both(f"{ours}.norm1", f"{nvlabs}.norm1", f"{timm}.norm1")
    yield from _mbconv(f"{ours}.mbconv", f"{nvlabs}.conv", f"{timm}.conv_block")
    yield Row(f"{ours}.conv.weight", f"{nvlabs}.reduction.weight", f"{timm}.reduction.weight")
    yield from _both(f"{ours}.norm2", f"{nvlabs}.norm2", f"{timm}.norm2")


def _mbconv(ours: str, nvlabs: str, timm: str) -> Iterator[Row]:
    for name, nvlabs_name, timm_name in (
        ("depthwise", "0", "conv_dw"),
        ("squeeze_excite.reduce", "2.fc.0", "se.fc1"),
        ("squeeze_excite.expand", "2.fc.2", "se.fc2"),
        ("pointwise", "3", "conv_pw"),
    ):
        yield Row(f"{ours}.{name}.weight", f"{nvlabs}.{nvlabs_name}.weight", f"{timm}.{timm_name}.weight")


def _both(ours: str, nvlabs: str, timm: str) -> Iterator[Row]:
    for kind in ("weight", "bias"):
        yield Row(f"{ours}.{kind}", f"{nvlabs}.{kind}", f"{timm}.{kind}")
