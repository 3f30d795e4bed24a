"""How far each block reaches: how far from one of its tokens the picture still changes it, over depth.

The *field* of a token is the length of its gradient by each pixel (the effective receptive field of Luo et al., 2016);
its *reach* is the mean distance from the token at which that length lies, in pixels. What came by values alone is the
same with every query held fixed, as in `Look.split`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from math import ceil, log, log2, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from gcvit.errors import UserError, require
from gcvit.explain.attention import BlockAttention
from gcvit.explain.looking import Look, evaluating, look
from gcvit.files import write_atomically
from gcvit.model.config import STAGES, Pair
from gcvit.model.gcvit import GCViT
from gcvit.model.windows import merge
from gcvit.tasks.opened import Given, Opened

Maps = Callable[[Tensor], Sequence[Float[Tensor, "batch channels rows columns"]]]
Places = Float[Tensor, "places 2"]  # (x, y), from 0 at the left and the top to 1
Fields = Float[Tensor, "places height width"]

NUMBERS = {
    "reach": "mean distance of a token's field, in pixels",
    "outside": "share of it from outside the token's own window, 0 to 1",
    "reach by values": "the same with every query held fixed",
    "outside by values": "the same with every query held fixed",
    "even reach": "reach of a field that is the same in the whole picture",
    "even outside": "and its share from outside",
    "attention": "mean distance from a token to what it attends to, in pixels",
    "even attention": "the same of weights that are all alike",
}
SHOWN = {what: ".0%" if "outside" in what else ".1f" for what in NUMBERS if not what.startswith("even ")}


@dataclass(frozen=True)
class Reach:
    """A model's blocks by depth. stages: the GC ViT's stage that has their stride, from 0. kinds: what they attend
    with, "" of others. numbers: for each of `NUMBERS` that it has, one a block, means over pictures and places,
    attention's over windows, heads and tokens."""

    name: str
    stages: list[int]
    kinds: list[str]
    numbers: dict[str, NDArray[np.float64]]


def measure_reach(
    opened: Opened,
    pictures: Sequence[Given],
    beside: Mapping[str, nn.Module] | None = None,
    *,
    places: int = 8,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Reach]:
    """How far the blocks of a model reach in pictures, and those of other models, by name, which get the same images.

    beside: GC ViTs or any of timm's (see `blocks_of`); "outside" is measured with our model's windows of that stride.
    places: of a picture, drawn from the seed, the same for all models. For each picture so many copies go through each
        model, and a gradient comes back from each block.
    Raises UserError without pictures, for those that cannot be read, and for models whose maps cannot be told.
    """
    require(len(pictures) > 0, "pictures", 0, "at least 1")
    require(places > 0, "places", places, "at least 1")
    models: dict[str, nn.Module | None] = {opened.name: None, **(beside or {})}
    found: dict[str, list[Reach]] = {name: [] for name in models}
    generator = torch.Generator().manual_seed(seed)
    for number, picture in enumerate(pictures):
        seen = look(opened, picture)
        chosen = torch.rand(places, 2, generator=generator)
        for at, (name, model) in enumerate(models.items()):
            found[name].append(_own(seen, chosen) if model is None else _of(seen, name, model, chosen))
            progress(number * len(models) + at + 1, len(pictures) * len(models))
    return [_mean(rows) for rows in found.values()]


def table(found: Sequence[Reach]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows, for a person: each model's stages, means over their blocks, those of a kind together."""
    rows = []
    for one in found:
        rows.append([one.name, *("" for _ in SHOWN)])
        for stage, kind in dict.fromkeys(zip(one.stages, one.kinds, strict=True)):
            at = [pair == (stage, kind) for pair in zip(one.stages, one.kinds, strict=True)]
            means = {what: one.numbers[what][at].mean() for what in SHOWN if what in one.numbers}
            told = {what: f"{mean:{SHOWN[what]}}" for what, mean in means.items() if np.isfinite(mean)}
            rows.append([f"  stage {stage} {kind}".rstrip(), *(told.get(what, "") for what in SHOWN)])
    return ["blocks", *(f">{what}" for what in SHOWN)], rows


def save_reach(found: Sequence[Reach], path: Path) -> None:
    """Write the numbers as one .npz: "MODEL: NUMBER", "MODEL: stage" and "MODEL: kind", a value for each block."""
    arrays: dict[str, NDArray] = {}
    for one in found:
        every = {"stage": np.array(one.stages), "kind": np.array(one.kinds), **one.numbers}
        arrays |= {f"{one.name}: {what}": values for what, values in every.items()}
    content = BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    write_atomically(path, content.getvalue())


def fields(maps: Maps, x: Float[Tensor, "1 channels height width"], places: Places, seed: int = 0) -> list[Fields]:
    """For each map that comes of x, the field in x of the token at each place: the length, over x's channels, of the
    gradient of the token along a random direction of its own channels. What is not reached is exactly 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode(False), torch.enable_grad():
        copies = x.detach().expand(len(places), -1, -1, -1).clone().requires_grad_()
        found = []
        for y in maps(copies):
            rows, columns = token_of(places, (y.shape[2], y.shape[3]))
            tokens = y[torch.arange(len(places)), :, rows, columns]
            direction = torch.randn(tokens.shape, generator=generator).to(tokens)
            (slope,) = torch.autograd.grad((tokens * direction).sum(), copies, retain_graph=True)
            found.append(slope.norm(dim=1).cpu())
    return found


def token_of(places: Places, tokens: Pair) -> tuple[Tensor, Tensor]:
    """Rows and columns of the tokens at places, of a map of so many."""
    return (places[:, 1] * tokens[0]).long(), (places[:, 0] * tokens[1]).long()


def reach_of(found: Fields, centres: Float[Tensor, "places 2"]) -> float:
    """Mean distance of fields from their tokens' centres (x, y), in pixels of the field."""
    down, across = (torch.arange(side, dtype=torch.float64) + 0.5 for side in found.shape[1:])
    apart = torch.hypot(
        down[:, None] - centres[:, 1, None, None].double(), across[None] - centres[:, 0, None, None].double()
    )
    shares = found.double() / found.double().sum((1, 2), keepdim=True)
    return float((shares * apart).sum((1, 2)).mean())


def outside_of(found: Fields, centres: Float[Tensor, "places 2"], window: Pair) -> float:
    """Share of fields from outside the window, (height, width) in pixels, that holds the token's centre (x, y)."""
    own = torch.ones(found.shape, dtype=torch.bool)
    for axis, side in enumerate(found.shape[1:]):
        index = torch.arange(side) // window[axis] == (centres[:, 1 - axis, None] // window[axis])
        own &= index[:, :, None] if axis == 0 else index[:, None, :]
    shares = found.double() / found.double().sum((1, 2), keepdim=True)
    return float((shares * ~own).sum((1, 2)).mean())


def attention_distance(block: BlockAttention, stride: int) -> tuple[float, float]:
    """Mean distance from a token to those of its window that it attends to, by its weights and by weights that are all
    alike, in pixels. Padding counts on neither side."""
    height, width = block.window
    place = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"), -1).flatten(0, 1)
    apart = stride * torch.cdist(place.double(), place.double())
    real = ~block.outside
    even = real[:, None, :].double().expand(-1, len(place), -1)
    even = even / even.sum(-1, keepdim=True).clamp_min(1)
    weighted = [float((weights * apart).sum(-1)[real].mean()) for weights in (block.weights.double().mean(1), even)]
    return weighted[0], weighted[1]


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """Of any model, in order: what is in its parts called `blocks`; without any, timm's `feature_info`, which names the
    modules that end its stages. Raises UserError where there is neither."""
    found = [module for name, module in model.named_modules() if re.search(r"(^|\.)blocks\.\d+$", name)]
    if not found:
        found = [model.get_submodule(info["module"]) for info in getattr(model, "feature_info", [])]
    if not found:
        raise UserError(
            f"no blocks are found in a {type(model).__name__}: it has no part called blocks, and no feature_info"
        )
    return found


def block_maps(model: nn.Module, run: Callable[[Tensor], object]) -> Maps:
    """What gives the map of each of a model's blocks, in order, while `run` computes: the model itself, or a GC ViT's
    `pyramid` or `trace`. Raises UserError for maps whose axes cannot be told."""

    def maps(x: Tensor) -> list[Tensor]:
        taken: list[tuple[Any, Tensor]] = []  # what each block was called with, and what it gave
        hooks = [block.register_forward_hook(lambda *called: taken.append(called[1:])) for block in blocks_of(model)]
        try:
            with evaluating(model):
                run(x)
        finally:
            for hook in hooks:
                hook.remove()
        size = (x.shape[2], x.shape[3])
        if isinstance(model, GCViT):
            return _merged(model, taken, size)
        return [_nchw(found, size, getattr(model, "num_prefix_tokens", 0)) for _, found in taken]

    return maps


def _merged(model: GCViT, taken: Sequence[tuple[Any, Tensor]], size: Pair) -> list[Tensor]:
    stages = [stage for stage, depth in enumerate(model.config.depths) for _ in range(depth)]
    maps = []
    for ((_, _, layout, *_), tokens), stage in zip(taken, stages, strict=True):
        sides = tuple(ceil(side / 2 ** (2 + stage)) for side in size)
        whole = merge(tokens, model.stages[stage].window, sides) if layout.cut else tokens
        maps.append(whole.permute(0, 3, 1, 2))
    return maps


def _nchw(found: Tensor, size: Pair, before: int) -> Tensor:
    """A map of another's model as (batch, channels, rows, columns). before: tokens that are no place's, of a row."""
    if found.ndim == 3:
        tokens = found[:, before:]
        rows = round(sqrt(tokens.shape[1] * size[0] / size[1]))
        if rows and tokens.shape[1] % rows == 0:
            return tokens.unflatten(1, (rows, -1)).permute(0, 3, 1, 2)
    elif found.ndim == 4:
        # Rows and columns are the two neighbouring axes that have the image's proportions.
        last, first = (abs(log(a * size[1] / (b * size[0]))) for a, b in (found.shape[2:], found.shape[1:3]))
        if last != first:
            return found if last < first else found.permute(0, 3, 1, 2)
    raise UserError(f"cannot tell rows and columns of a block's output of the shape {tuple(found.shape)}")


def _own(seen: Look, places: Places) -> Reach:
    """Of the model itself, in one picture."""
    name, model = seen.opened.name, seen.backbone
    found = _of(seen, name, model, places)
    held = _of(seen, name, model, places, lambda x: model.trace(x, "all", through="values"))
    none = np.nan, np.nan
    distances = np.array(
        [attention_distance(seen.block(at), 2 ** (2 + at[0])) if at in seen.mapped else none for at in seen.blocks]
    )
    numbers = found.numbers | {f"{what} by values": held.numbers[what] for what in ("reach", "outside")}
    numbers |= {"attention": distances[:, 0], "even attention": distances[:, 1]}
    return Reach(name, found.stages, found.kinds, numbers)


def _of(
    seen: Look, name: str, model: nn.Module, places: Places, run: Callable[[Tensor], object] | None = None
) -> Reach:
    """Of any model, in one picture. run: what computes its blocks; None: the model."""
    maps = block_maps(model, run or model)
    sizes: list[Pair] = []

    def noted(x: Tensor) -> Sequence[Tensor]:
        found = maps(x)
        sizes.extend((y.shape[2], y.shape[3]) for y in found)
        return found

    rows, stages, evens = [], [], {}
    for found, tokens in zip(fields(noted, seen.image.to(next(model.parameters())), places), sizes, strict=True):
        stage = min(max(round(log2(seen.size[0] / tokens[0])) - 2, 0), STAGES - 1)
        row, column = token_of(places, tokens)
        down, across = (side / count for side, count in zip(seen.size, tokens, strict=True))
        if isinstance(model, GCViT):  # whose last tokens stick out of images of other sizes
            down = across = 2 ** (2 + stage)
        centres = torch.stack([(column + 0.5) * across, (row + 0.5) * down], 1)
        window = tuple(side * 2 ** (2 + stage) for side in seen.config.stage_windows[stage])
        if tokens not in evens:
            even = torch.ones_like(found)
            evens[tokens] = [reach_of(even, centres), outside_of(even, centres, window)]
        rows.append([reach_of(found, centres), outside_of(found, centres, window), *evens[tokens]])
        stages.append(stage)
    kinds = [""] * len(stages)
    if isinstance(model, GCViT):
        kinds = [kind for row in model.config.block_kinds for kind in row]
    measured = np.array(rows).T
    return Reach(
        name, stages, kinds, dict(zip(("reach", "outside", "even reach", "even outside"), measured, strict=True))
    )


def _mean(pictures: Sequence[Reach]) -> Reach:
    first = pictures[0]
    numbers = {what: np.mean([one.numbers[what] for one in pictures], 0) for what in first.numbers}
    return Reach(first.name, first.stages, first.kinds, numbers)
