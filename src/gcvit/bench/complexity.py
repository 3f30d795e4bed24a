"""Appendix F: Eq. 7 against what is counted, and how GC ViT, Swin and a plain ViT grow with the size of the image."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log, prod
from typing import Literal, NamedTuple

import numpy as np
import timm
import torch
from torch import nn

from gcvit.bench.cost import macs, macs_by_module
from gcvit.bench.peak import Measuring, Spent, measure
from gcvit.bench.peers import SWIN_SIZES, swin
from gcvit.bench.report import Say
from gcvit.bench.settings import ComplexityConfig
from gcvit.factory import create_model, variant
from gcvit.model import GCViT, GCViTConfig
from gcvit.model.config import STAGES
from gcvit.model.windows import grid

WHOLE = 224  # pixels, a side of which no window is padded
Name = Literal["gcvit", "gcvit, growing windows", "swin_tiny", "vit_small"]
GROWING: Name = "gcvit, growing windows"
NAMES: dict[Name, str] = {
    "gcvit": "{model}, windows of its own size",
    GROWING: "{model}, windows that grow with the image",
    "swin_tiny": "Swin-T, windows of 7",
    "vit_small": "ViT-S/16, global attention",
}
PATCHES: dict[Name, int] = {"swin_tiny": 4, "vit_small": 16}  # timm's take whole ones only


class StageCost(NamedTuple):
    """A stage's attention at one size, in multiply-adds, of whole windows. equation_7: of all blocks as the paper has
    it; by_kind: the same for local blocks, HW(3C² + 2hwC) for global ones; counted: by torch's counter."""

    size: int
    stage: int
    equation_7: int
    by_kind: int
    counted: int


@dataclass(frozen=True)
class Growth:
    """How a model's multiply-adds grow. macs: at each of `sizes`. measured: time and memory, at some of them."""

    name: str
    sizes: tuple[int, ...]
    macs: tuple[int, ...]
    measured: tuple[Spent, ...] = ()

    @property
    def multiples(self) -> int:
        """How many of the sizes are whole multiples of 224 px, where no window is padded."""
        return sum(size % WHOLE == 0 for size in self.sizes)

    @property
    def fitted(self) -> list[bool]:
        """Which sizes the line is fitted to: these multiples, where they are two or more, which make one; else all."""
        return [size % WHOLE == 0 or self.multiples < 2 for size in self.sizes]

    @property
    def line(self) -> tuple[float, float]:
        """(multiply-adds per pixel, multiply-adds at none) of the line that fits the `fitted` sizes best."""
        pixels = np.array([size * size for size in self.sizes], dtype=float)[self.fitted]
        slope, start = np.polyfit(pixels, np.array(self.macs, dtype=float)[self.fitted], 1)
        return float(slope), float(start)

    @property
    def residual(self) -> float:
        """How far the farthest of the `fitted` sizes is from that line, as a share of its count."""
        return self._farthest(among_fitted=True) or 0.0

    @property
    def elsewhere(self) -> float | None:
        """The same for the other sizes, where padding is counted."""
        return self._farthest(among_fitted=False)

    def _farthest(self, *, among_fitted: bool) -> float | None:
        (slope, start), rows = self.line, zip(self.sizes, self.macs, self.fitted, strict=True)
        return max(
            (1 - (slope * s * s + start) / m for s, m, own in rows if own == among_fitted), key=abs, default=None
        )

    @property
    def exponent(self) -> float:
        """Of pixels, from about half of the largest `fitted` size's to that: 1 is linear, 2 quadratic."""
        known = [(s, m) for s, m, own in zip(self.sizes, self.macs, self.fitted, strict=True) if own]
        side, most = known[-1]
        smaller, less = next((pair for pair in reversed(known) if 2 * pair[0] ** 2 <= side**2), known[0])
        return log(most / less) / (2 * log(side / smaller))


def stage_costs(config: ComplexityConfig) -> list[StageCost]:
    """Every stage's attention at every size, with the windows of the model's own size."""
    row, found = variant(config.model), []
    with torch.device("meta"):
        model = create_model(config.model)
    for size in sorted(set(config.sizes)):
        counted = _attention(model, size)
        at = replace(row, img_size=size, windows=row.stage_windows)  # type: ignore[arg-type]
        found += [StageCost(size, s, *_formulas(at, s), counted[s]) for s in range(STAGES)]
    return found


def _formulas(config: GCViTConfig, stage: int) -> tuple[int, int]:
    """Eq. 7 for all blocks of a stage, and with what global ones really have."""
    window, channels = prod(config.stage_windows[stage]), config.channels[stage]
    positions = prod(grid(config.map_sizes[stage], config.stage_windows[stage])) * window
    local = 2 * positions * (2 * channels**2 + window * channels)
    whole = positions * (3 * channels**2 + 2 * window * channels)
    kinds = config.block_kinds[stage]
    return local * len(kinds), sum(local if kind == "local" else whole for kind in kinds)


def _attention(model: GCViT, size: int) -> list[int]:
    """Multiply-adds of each stage's attention modules, by torch's counter."""
    counts = [0] * STAGES
    for name, own in macs_by_module(model, size).items():
        if name.endswith(".attention"):
            counts[int(name.split(".")[1])] += own
    return counts


def build(name: Name, model: str, size: int = WHOLE) -> nn.Module:
    """A model of the comparison, for images of any size; the windows of `GROWING` are those for `size` pixels."""
    if name == "gcvit":
        return create_model(model)
    if name == GROWING:
        return create_model(model, img_size=size)
    if name == "swin_tiny":
        return swin(*SWIN_SIZES[name], window=7)
    return timm.create_model("vit_small_patch16_224", dynamic_img_size=True)


def growths(config: ComplexityConfig, say: Say) -> list[Growth]:
    """Every model's growth; with time and memory of ours, Swin and ViT up to `measured_up_to`."""
    found = []
    for name, title in NAMES.items():
        counted = []
        sizes = [size for size in sorted(set(config.sizes)) if size % PATCHES.get(name, 1) == 0]
        if len(sizes) < 3:
            continue  # no line
        for size in sizes:
            say(f"counting {name} at {size} px")
            if size == sizes[0] or name == GROWING:
                with torch.device("meta"):
                    model = build(name, config.model, size)
            counted.append(macs(model, size))
        title = title.format(model=config.model)
        found.append(Growth(title, tuple(sizes), tuple(counted), tuple(_measured(name, sizes, config, say))))
    return found


def _measured(name: Name, sizes: Sequence[int], config: ComplexityConfig, say: Say) -> list[Spent]:
    chosen = [size for size in sizes if size <= config.measured_up_to]
    if not chosen or name == GROWING:
        return []
    say(f"timing {name} up to {chosen[-1]} px")
    return measure(build, (name, config.model), chosen, Measuring(config.device, threads=config.threads))
