"""Every parameter of a GC ViT: its name in our state dict and in the two published ones, and its shape; and the names
that timm's Swin has for what an ablation shares with it.

Names and shapes alone: no weight's values are touched here.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from gcvit.errors import UserError
from gcvit.model.ablations import ATTENTION
from gcvit.model.config import MOST_BLOCKS, MOST_MBCONVS, STAGES, GCViTConfig, Kind
from gcvit.model.gcvit import GCViT

Layout = Literal["gcvit", "nvlabs", "timm", "swin"]
Shape = tuple[int, ...]
State = dict[str, Tensor]
# A name that only this layout has tells which one a state dict follows.
MARKS: dict[Layout, str] = {
    "gcvit": "stem.conv.weight",
    "swin": "patch_embed.norm.weight",  # which NVlabs' have not
    "nvlabs": "patch_embed.proj.weight",
    "timm": "stem.conv1.weight",
}
# Buffers that follow from the window's size.
DERIVED = ("relative_position_index",)
# Ours, of parameters that a model may have or not.
HEAD = ("head.weight", "head.bias")
NORM = ("norm.weight", "norm.bias")
# Of the maps, in the published code for detection and segmentation: norms that belong to heads, not to the backbone.
MAP_NORMS = tuple(f"norm{stage}.{kind}" for stage in range(4) for kind in ("weight", "bias"))
TABLE = ".attention.bias.table"


@dataclass(frozen=True)
class Row:
    """One parameter's name in each layout, and its shape in ours."""

    gcvit: str
    nvlabs: str
    timm: str
    shape: Shape


def layout_of(state: Iterable[str]) -> Layout | None:
    """The layout whose names a state dict has, None when it is no GC ViT's."""
    return next((layout for layout, mark in MARKS.items() if mark in state), None)


def renamed(state: Mapping[str, Tensor], layout: Layout, origin: str) -> State:
    """The state of a GC ViT with our names where the table knows them; others stay, and what follows from the windows
    is left out. Raises UserError, naming `origin`, when two names are one in ours."""
    names, found = renaming(layout), State()
    for name, tensor in state.items():
        if name.endswith(DERIVED):
            continue
        if (mine := names.get(name, name)) in found:
            raise UserError(f"{origin}: two tensors in it stand for {mine}")
        # timm's squeeze-and-excite are 1×1 convolutions.
        found[mine] = tensor.flatten(1) if ".squeeze_excite." in mine and tensor.ndim == 4 else tensor
    return found


def classes_in(state: Mapping[str, Tensor]) -> int:
    """Outputs of the head in a state with our names; 0 where there is none."""
    return next((len(state[name]) for name in HEAD if name in state and state[name].ndim), 0)


def table(config: GCViTConfig) -> list[Row]:
    """Every parameter of a model of the paper's design (`config.plain`), in each published layout."""
    dim, last, classes = config.dim, config.channels[-1], config.num_classes
    return [
        *_both("stem.conv", "patch_embed.proj", "stem.conv1", (dim, config.in_chans, 3, 3)),
        *_downsample("stem.downsample", "patch_embed.conv_down", "stem.down", dim, dim),
        *(row for stage in range(STAGES) for row in _stage(config, stage)),
        *(_both("norm", "norm", f"stages.{STAGES - 1}.norm", (last,)) if config.head else ()),
        *(_both("head", "head", "head.fc", (classes, last)) if config.head and classes else ()),
    ]


def shapes_of(config: GCViTConfig) -> dict[str, Shape]:
    """The shape of every parameter of a model, by our names."""
    if config.plain:
        return {row.gcvit: row.shape for row in table(config)}
    with torch.device("meta"):  # ablations have no published names, and no table
        return {name: tuple(tensor.shape) for name, tensor in GCViT(config).state_dict().items()}


@cache
def renaming(layout: Layout) -> Mapping[str, str]:
    """Our name of each parameter of any model, by the layout's."""
    if layout == "swin":
        return _swin()
    every = (MOST_BLOCKS,) * STAGES
    largest = GCViTConfig(depths=every, query_mbconvs=(MOST_MBCONVS,) * STAGES, layer_scale=1.0)
    return {getattr(row, layout): row.gcvit for row in table(largest)}


def _stage(config: GCViTConfig, stage: int) -> Iterator[Row]:
    ours, nvlabs, timm = f"stages.{stage}", f"levels.{stage}", f"stages.{stage}"
    channels = config.channels[stage]
    for k in range(config.query_mbconvs[stage]):
        yield from _mbconv(
            f"{ours}.query.mbconvs.{k}",
            f"{nvlabs}.q_global_gen.to_q_global.{k}.conv",
            f"{timm}.global_block.blocks.conv{k + 1}",
            channels,
        )
    for j, kind in enumerate(config.block_kinds[stage]):
        yield from _block(f"{ours}.blocks.{j}", f"{nvlabs}.blocks.{j}", f"{timm}.blocks.{j}", config, stage, kind)
    if stage + 1 < STAGES:
        names = f"{ours}.downsample", f"{nvlabs}.downsample", f"stages.{stage + 1}.downsample"
        yield from _downsample(*names, channels, 2 * channels)


def _block(ours: str, nvlabs: str, timm: str, config: GCViTConfig, stage: int, kind: Kind) -> Iterator[Row]:
    channels, heads, (height, width) = config.channels[stage], config.heads[stage], config.stage_windows[stage]
    hidden = int(channels * config.mlp_ratio)
    projection = ATTENTION[kind].JOINT
    for name, theirs, shape in (
        ("norm1", "norm1", (channels,)),
        (f"attention.{projection}", "attn.qkv", (len(projection) * channels, channels)),
        ("attention.proj", "attn.proj", (channels, channels)),
        ("norm2", "norm2", (channels,)),
        ("mlp.fc1", "mlp.fc1", (hidden, channels)),
        ("mlp.fc2", "mlp.fc2", (channels, hidden)),
    ):
        yield from _both(f"{ours}.{name}", f"{nvlabs}.{theirs}", f"{timm}.{theirs}", shape)
    bias, offsets = "relative_position_bias_table", (2 * height - 1) * (2 * width - 1)
    names = f"{ours}.attention.bias.table", f"{nvlabs}.attn.{bias}", f"{timm}.attn.rel_pos.{bias}"
    yield Row(*names, (offsets, heads))
    if config.layer_scale is not None:
        yield Row(f"{ours}.scale1.gamma", f"{nvlabs}.gamma1", f"{timm}.ls1.gamma", (channels,))
        yield Row(f"{ours}.scale2.gamma", f"{nvlabs}.gamma2", f"{timm}.ls2.gamma", (channels,))


def _downsample(ours: str, nvlabs: str, timm: str, channels: int, out_channels: int) -> Iterator[Row]:
    yield from _both(f"{ours}.norm1", f"{nvlabs}.norm1", f"{timm}.norm1", (channels,))
    yield from _mbconv(f"{ours}.mbconv", f"{nvlabs}.conv", f"{timm}.conv_block", channels)
    names = f"{ours}.conv.weight", f"{nvlabs}.reduction.weight", f"{timm}.reduction.weight"
    yield Row(*names, (out_channels, channels, 3, 3))
    yield from _both(f"{ours}.norm2", f"{nvlabs}.norm2", f"{timm}.norm2", (out_channels,))


def _mbconv(ours: str, nvlabs: str, timm: str, channels: int) -> Iterator[Row]:
    reduced = max(channels // 4, 1)
    for name, nvlabs_name, timm_name, shape in (
        ("depthwise", "0", "conv_dw", (channels, 1, 3, 3)),
        ("squeeze_excite.reduce", "2.fc.0", "se.fc1", (reduced, channels)),
        ("squeeze_excite.expand", "2.fc.2", "se.fc2", (channels, reduced)),
        ("pointwise", "3", "conv_pw", (channels, channels, 1, 1)),
    ):
        yield Row(f"{ours}.{name}.weight", f"{nvlabs}.{nvlabs_name}.weight", f"{timm}.{timm_name}.weight", shape)


def _both(ours: str, nvlabs: str, timm: str, shape: Shape) -> Iterator[Row]:
    for kind, sides in (("weight", shape), ("bias", shape[:1])):
        yield Row(f"{ours}.{kind}", f"{nvlabs}.{kind}", f"{timm}.{kind}", sides)


def _swin() -> dict[str, str]:
    """Our names by those of timm's Swin, which has its downsamplers before the stages that they lead to."""
    pairs = [
        ("patch_embed.proj", "stem.conv"),
        ("patch_embed.norm", "stem.norm"),
        ("norm", "norm"),
        ("head.fc", "head"),
    ]
    names = {}
    for stage in range(STAGES):
        ours, theirs = f"stages.{stage}", f"layers.{stage}"
        pairs.append((f"layers.{stage + 1}.downsample.norm", f"{ours}.downsample.norm"))
        names[f"layers.{stage + 1}.downsample.reduction.weight"] = f"{ours}.downsample.reduction.weight"
        for block in range(MOST_BLOCKS):
            bias = f"{theirs}.blocks.{block}.attn.relative_position_bias_table"
            names[bias] = f"{ours}.blocks.{block}.attention.bias.table"
            for part in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"):
                mine = part.replace("attn", "attention")
                pairs.append((f"{theirs}.blocks.{block}.{part}", f"{ours}.blocks.{block}.{mine}"))
    return names | {f"{theirs}.{kind}": f"{mine}.{kind}" for theirs, mine in pairs for kind in ("weight", "bias")}
