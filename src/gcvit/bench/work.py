"""What each part of a GC ViT has to do: its arithmetic, and the least that has to come from and go to memory.

A block reads its tokens once and writes them once: queries, keys, values, attention weights and hidden numbers stay on
the chip, as its windows do not depend on each other. So do a downsampler, the stem, a query generator and the head.
Weights are read once for the whole batch. Numbers per token are those of the picture; the arithmetic counts padding.
"""

from collections.abc import Iterator
from math import ceil, prod
from typing import NamedTuple

from gcvit.model.config import GCViTConfig, Pair
from gcvit.model.gcvit import GCViT
from gcvit.model.windows import grid

QUERY, LINEARS, ATTENTION, MLP, REST, DOWNSAMPLE = (
    "query generator",
    "norms, linears",
    "attention",
    "MLP",
    "windows, sums",
    "downsampler",
)


class Place(NamedTuple):
    """where: stem, stage 1 to stage 4, or head. part: of a stage; empty for stem and head."""

    where: str
    part: str = ""


STEM, HEAD = Place("stem"), Place("head")


class Work(NamedTuple):
    """macs: multiply-accumulates. numbers: read from memory or written to it, of activations and of weights."""

    place: Place
    macs: int
    numbers: int


def place_of(name: str) -> Place:
    """Where in the model a parameter or submodule lies, by its name ("stages.0.blocks.1.attention.kv")."""
    words = name.split(".")
    if words[0] == "stem":
        return STEM
    if words[0] != "stages" or len(words) < 2:
        return HEAD
    part = REST
    match words[2:]:
        case ["query", *_]:
            part = QUERY
        case ["downsample", *_]:
            part = DOWNSAMPLE
        case ["blocks", _, "attention", "qkv" | "kv" | "proj", *_] | ["blocks", _, "norm1" | "scale1", *_]:
            part = LINEARS
        case ["blocks", _, "attention", *_]:
            part = ATTENTION
        case ["blocks", _, "norm2" | "mlp" | "scale2", *_]:
            part = MLP
    return Place(f"stage {int(words[1]) + 1}", part)


def work(model: GCViT, size: Pair, batch: int) -> list[Work]:
    """Of one forward pass of `batch` images of `size` (height, width) pixels, part by part in the order of computing.

    model: plain, not folded; folding leaves a few weights out. Its windows are its configuration's, whatever the size.
    """
    weights: dict[Place, int] = {}
    for name, parameter in model.named_parameters():
        place = place_of(name)
        weights[place] = weights.get(place, 0) + parameter.numel()
    return [
        Work(place, batch * macs, batch * numbers + weights.get(place, 0))
        for place, macs, numbers in _per_image(model.config, size)
    ]


def _per_image(config: GCViTConfig, size: Pair) -> Iterator[Work]:
    half, sizes = _half(size), _maps(size)
    yield Work(
        STEM,
        9 * config.in_chans * config.dim * prod(half) + _downsample(config.dim, config.dim, half),
        config.in_chans * prod(size) + config.dim * prod(sizes[0]),
    )
    for stage, (channels, sides, window) in enumerate(zip(config.channels, sizes, config.stage_windows, strict=True)):
        where, depth = f"stage {stage + 1}", config.depths[stage]
        numbers, tokens = channels * prod(sides), prod(window)
        padded = prod(grid(sides, window)) * tokens
        query = channels * tokens
        yield Work(
            Place(where, QUERY),
            _query(channels, sides, config.query_mbconvs[stage], config.poolings[stage]),
            numbers + query,
        )
        projections = 4 * ceil(depth / 2) + 3 * (depth // 2)  # q, k, v or k, v, then out
        yield Work(Place(where, LINEARS), projections * channels**2 * padded, depth * numbers)
        yield Work(Place(where, ATTENTION), depth * 2 * tokens * channels * padded, depth // 2 * query)
        hidden = int(channels * config.mlp_ratio)
        yield Work(Place(where, MLP), depth * 2 * channels * hidden * padded, depth * numbers)
        if stage + 1 < len(sizes):
            outs = 2 * channels
            yield Work(
                Place(where, DOWNSAMPLE), _downsample(channels, outs, sides), numbers + outs * prod(sizes[stage + 1])
            )
    if config.head:
        last = config.channels[-1]
        yield Work(HEAD, last * config.num_classes, last * prod(sizes[-1]) + (config.num_classes or last))


def _half(size: Pair) -> Pair:
    return ceil(size[0] / 2), ceil(size[1] / 2)


def _maps(size: Pair) -> list[Pair]:
    maps = [_half(_half(size))]
    for _ in range(3):
        maps.append(_half(maps[-1]))
    return maps


def _mbconv(channels: int, sides: Pair) -> int:
    """Depthwise 3×3 and 1×1 at every position, squeeze and excite once."""
    return (9 * channels + channels**2) * prod(sides) + 2 * channels * max(channels // 4, 1)


def _downsample(channels: int, outs: int, sides: Pair) -> int:
    return _mbconv(channels, sides) + 9 * channels * outs * prod(_half(sides))


def _query(channels: int, sides: Pair, mbconvs: int, poolings: int) -> int:
    macs = 0
    for layer in range(mbconvs):
        macs += _mbconv(channels, sides)
        sides = _half(sides) if layer < poolings else sides
    return macs
