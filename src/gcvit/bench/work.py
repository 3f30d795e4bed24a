"""What each part of a GC ViT has to do: its arithmetic, and the least that has to come from and go to memory.

A block reads its tokens once and writes them once: queries, keys, values, attention weights and hidden numbers stay on
the chip, as its windows do not depend on each other. So do a downsampler, the stem, a query generator and the head.
Weights are read once for the whole batch. Numbers per token are those of the picture; the arithmetic is torch's count,
padding included.
"""

from collections import Counter
from collections.abc import Iterator
from math import ceil, prod
from typing import NamedTuple

from gcvit.bench.cost import macs_by_module
from gcvit.model.config import STAGES, GCViTConfig, Pair
from gcvit.model.gcvit import GCViT

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
    weights = Counter[Place]()
    for name, parameter in model.named_parameters():
        weights[place_of(name)] += parameter.numel()
    macs = _macs(model, size, batch)
    return [
        Work(place, macs[place], batch * numbers + weights[place]) for place, numbers in _numbers(model.config, size)
    ]


def _macs(model: GCViT, size: Pair, batch: int) -> Counter[Place]:
    """Of the outermost modules of each place; attention calls linear layers, which are a place of their own."""
    counts = macs_by_module(model, size, batch)
    found = Counter({HEAD: counts.get("head", 0)})
    for name, macs in counts.items():
        place, around = place_of(name), place_of(name.rpartition(".")[0])
        if place not in (around, HEAD) and place.part != REST:
            found[place] += macs
            if around.part == ATTENTION:
                found[around] -= macs
    return found


def _numbers(config: GCViTConfig, size: Pair) -> Iterator[tuple[Place, int]]:
    """Of activations, for one image."""
    half = _half(size)
    maps = [_half(half)]
    while len(maps) < STAGES:
        maps.append(_half(maps[-1]))
    whole = [channels * prod(sides) for channels, sides in zip(config.channels, maps, strict=True)]
    yield STEM, config.in_chans * prod(size) + whole[0]
    for stage, (numbers, depth) in enumerate(zip(whole, config.depths, strict=True)):
        where, query = f"stage {stage + 1}", config.channels[stage] * prod(config.stage_windows[stage])
        yield Place(where, QUERY), numbers + query
        yield Place(where, LINEARS), depth * numbers
        yield Place(where, ATTENTION), depth // 2 * query
        yield Place(where, MLP), depth * numbers
        if stage + 1 < STAGES:
            yield Place(where, DOWNSAMPLE), numbers + whole[stage + 1]
    if config.head:
        yield HEAD, whole[-1] + (config.num_classes or config.channels[-1])


def _half(size: Pair) -> Pair:
    return ceil(size[0] / 2), ceil(size[1] / 2)
