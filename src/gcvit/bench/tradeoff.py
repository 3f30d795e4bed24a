"""Figure 1: accuracy against what it costs, in arithmetic and parameters, or in time and memory on this machine."""

from collections.abc import Sequence
from dataclasses import dataclass

import timm
from torch import nn

from gcvit.bench.contenders import TIMM
from gcvit.bench.peak import Measuring, measure
from gcvit.bench.published import table_1
from gcvit.bench.report import Say
from gcvit.bench.tables import cost_of
from gcvit.factory import create_model

SIZE = 224  # pixels
COSTS = ("multiply-adds, 10⁹", "parameters, 10⁶", "images a second", "peak memory, MB")
MORE_IS_BETTER = COSTS[2]
REPEATED = "CoAtNet-2"
FAMILIES = ("GC ViT", "Swin", "ConvNeXt", "CSwin", "Focal", "CoAtNet", "PVT-v2")  # the rest are others


@dataclass(frozen=True)
class Point:
    """A model of Table 1. top1: as published, in per cent. costs: by the names in `COSTS`; counted here where the model
    is at hand, else as published; measured only where it is. counted: whether it is."""

    method: str
    top1: float
    costs: dict[str, float]
    counted: bool = True

    @property
    def family(self) -> str:
        """One of `FAMILIES`, or "others"."""
        return next((family for family in FAMILIES if self.method.startswith(family)), "others")


def points(say: Say, measuring: Measuring | None = None) -> list[Point]:
    """Of every line of Table 1 but CoAtNet-2's, which repeats CoAtNet-1's figures; with `measuring`, time and memory of
    the models that are at hand, ours folded."""
    found = []
    for line in table_1():
        if line.method == REPEATED:
            continue
        say(f"counting {line.method}")
        cost = {name: value for name, value in line.values.items() if value is not None}
        cost |= {} if line.model is None else cost_of(line.model)
        costs = {COSTS[0]: cost["GFLOPs"], COSTS[1]: cost["M params"]}
        if measuring is not None and line.model is not None:
            say(f"measuring {line.method}")
            (spent,) = measure(_build, [line.model], [SIZE], measuring)
            costs[COSTS[2]] = 1e3 * measuring.batch / spent.milliseconds
            if spent.peak_bytes is not None:
                costs[COSTS[3]] = spent.peak_bytes / 1e6
        found.append(Point(line.method, cost["top-1"], costs, counted=line.model is not None))
    return found


def front(found: Sequence[Point], cost: str) -> list[Point]:
    """Those that no other beats: none is as accurate or better at the same cost or less; the cheapest first."""
    sign = -1 if cost == MORE_IS_BETTER else 1
    best: list[Point] = []
    for point in sorted((p for p in found if cost in p.costs), key=lambda p: (sign * p.costs[cost], -p.top1)):
        if not best or point.top1 > best[-1].top1:
            best.append(point)
    return best


def _build(name: str) -> nn.Module:
    if name.startswith(TIMM):
        return timm.create_model(name.removeprefix(TIMM))
    return create_model(name).fold()
