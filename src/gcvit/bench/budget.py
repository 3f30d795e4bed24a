"""A model's budget on a machine: arithmetic, least bytes, the two floors that they set, and where time goes."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import NamedTuple

import torch

from gcvit.bench.building import build
from gcvit.bench.contenders import RUNTIMES, Contender, parse
from gcvit.bench.forms import Conditions, prepare
from gcvit.bench.profiling import Spent, where_time_goes
from gcvit.bench.report import Grid, Page, Say, digits, machine
from gcvit.bench.settings import BudgetConfig
from gcvit.bench.timing import take_turn, threads_of
from gcvit.bench.work import MLP, REST, Place, Work, work
from gcvit.engine.device import resolve_device
from gcvit.errors import UserError
from gcvit.factory import create_model

WARM_UP_STEPS = 3
NOTES = (
    "least MB: whole blocks fused, each map read and written once; arithmetic and",
    "memory ms: the least at this machine's rates of large products and of large",
    "copies; of floor: the larger of the two as a share of the time. Sums are of",
    "parts one after another.",
)
REPEATS = 8  # of what rates are measured with
NOT_BY_PART = {"compiled", "blocks", "cudagraph", *RUNTIMES}


class Rates(NamedTuple):
    """macs_per_second: of a large matrix product. bytes_per_second: of a large copy, read and written counted."""

    macs_per_second: float
    bytes_per_second: float


@dataclass(frozen=True)
class Line:
    """A part of the model.

    macs, bytes: what it has to do and to move (see `gcvit.bench.work`). arithmetic_ms, memory_ms: the least time for
    each at the machine's rates. ms: what it takes, or None where parts cannot be told apart.
    """

    place: Place
    macs: int
    bytes: int
    arithmetic_ms: float
    memory_ms: float
    ms: float | None

    @property
    def floor_ms(self) -> float:
        """No version is much faster than the larger of the two."""
        return max(self.arithmetic_ms, self.memory_ms)


@dataclass(frozen=True)
class Budget:
    """model: as run. rates: the machine's. ms: the median of a forward pass. kinds: share of the time by kind of
    operation; empty where lines have no time."""

    model: str
    rates: Rates
    ms: float
    lines: tuple[Line, ...]
    kinds: dict[str, float]

    @property
    def floor_ms(self) -> float:
        """Of the parts one after another."""
        return sum(line.floor_ms for line in self.lines)


def run(model: str, config: BudgetConfig, say: Say = lambda text: None) -> Budget:
    """Measure `model`, one of ours written NAME[:FORM]….

    Raises UserError for another's model and a form that cannot run on the device.
    """
    contender, device = parse(model), resolve_device(config.device)
    if not contender.ours:
        raise UserError(f"{contender}: a budget is made of our models' parts; take {contender.architecture or 'ours'}")
    conditions = Conditions(device, config.precision)
    conditions.check(contender)
    with threads_of(config.threads):
        return _measure(contender, config, conditions, say)


def _measure(contender: Contender, config: BudgetConfig, conditions: Conditions, say: Say) -> Budget:
    device, dtype = conditions.device, torch.float32 if config.precision == "fp32" else torch.bfloat16
    say("measuring the machine's floors")
    rates = measure_rates(device, dtype, scale=config.scale)
    say(f"warming up {contender}")
    with torch.device("meta"):
        plain = create_model(contender.name, img_size=config.sides, windows=config.windows, head=config.part == "model")
    (model,) = build([contender], config.sides, part=config.part, windows=config.windows)
    images = torch.randn(config.batch_size, 3, *config.sides, generator=torch.Generator().manual_seed(1))
    model, forward = prepare(contender, model, images, conditions)
    for _ in range(WARM_UP_STEPS):
        forward()
    say(f"timing {contender}")
    step_ms = median(take_turn(forward, config.steps, device).steps_ms)
    spent = Spent({}, {})
    if not contender.forms & NOT_BY_PART:
        say(f"profiling {contender}")
        spent = where_time_goes(model, forward, device)
    return Budget(
        str(contender),
        rates,
        step_ms,
        tuple(_lines(work(plain, config.sides, config.batch_size), spent, rates, step_ms, dtype.itemsize)),
        dict(sorted(spent.by_kind.items(), key=lambda item: -item[1])),
    )


def measure_rates(device: torch.device, dtype: torch.dtype, *, scale: int = 1) -> Rates:
    """The best of some repeats, on random numbers, with the threads that torch has.

    scale: divides the sides of the matrices and the length of the copy, for a first look; only large ones
        leave the caches.
    """
    on_gpu = device.type == "cuda"
    side = (8192 if on_gpu else 2048) // scale
    length = (2**30 if on_gpu else 2**26) // scale
    a, b = torch.randn(2, side, side, device=device).to(dtype)
    product = torch.empty_like(a)
    macs = side**3 / _seconds(lambda: torch.mm(a, b, out=product), device)
    source = torch.randn(length, device=device)
    target = torch.empty_like(source)
    moved = 2 * source.nbytes / _seconds(lambda: target.copy_(source), device)
    return Rates(macs, moved)


def _seconds(step: Callable[[], object], device: torch.device) -> float:
    take_turn(step, 2, device)
    return min(take_turn(step, REPEATS, device).steps_ms) / 1e3


def _lines(parts: Sequence[Work], spent: Spent, rates: Rates, step_ms: float, itemsize: int) -> list[Line]:
    """In the order of computing; what is not work of its own, such as cutting windows, after its stage's blocks."""
    order: dict[Place, Work] = {}
    for part in parts:
        order[part.place] = part
        if part.place.part == MLP:
            rest = Place(part.place.where, REST)
            order[rest] = Work(rest, 0, 0)
    return [
        Line(
            place,
            part.macs,
            itemsize * part.numbers,
            1e3 * part.macs / rates.macs_per_second,
            1e3 * itemsize * part.numbers / rates.bytes_per_second,
            step_ms * spent.by_place.get(place, 0.0) if spent.by_place else None,
        )
        for place, part in order.items()
    ]


def as_json(config: BudgetConfig, budget: Budget) -> dict[str, object]:
    """The machine, the settings and the budget, as plain JSON types."""
    found = asdict(budget) | {"floor_ms": budget.floor_ms, "rates": budget.rates._asdict()}
    found["lines"] = [asdict(line) | {"place": line.place._asdict()} for line in budget.lines]
    about = machine(resolve_device(config.device), config.threads)
    return {"machine": about, "settings": asdict(config), "budget": found}


def page(config: BudgetConfig, budget: Budget) -> Page:
    """The parts, then the whole, without times where parts cannot be told apart; and kinds of operations, the longest
    first."""
    height, width = config.sides
    rates, lines = budget.rates, budget.lines
    facts = [
        ("measured", f"{budget.model}, batch {config.batch_size}, {height}×{width} px, {config.precision}"),
        *machine(resolve_device(config.device), config.threads).items(),
        ("floors", f"{digits(rates.macs_per_second / 1e9)} GMAC/s, {digits(rates.bytes_per_second / 1e9)} GB/s"),
        ("time", f"{digits(budget.ms)} ms, of which {_share(budget.floor_ms, budget.ms)} are the floors'"),
    ]
    macs, moved = sum(line.macs for line in lines), sum(line.bytes for line in lines)
    floors = sum(line.arithmetic_ms for line in lines), sum(line.memory_ms for line in lines)
    rows = [_cells(line, line.floor_ms) for line in lines]
    rows.append(_cells(Line(Place("whole"), macs, moved, *floors, budget.ms), budget.floor_ms))
    headings = ["where", "part", ">GMACs", ">least MB", ">arithmetic ms", ">memory ms", ">ms", ">of floor"]
    kinds = [[kind, f"{share:.1%}", digits(share * budget.ms)] for kind, share in budget.kinds.items()]
    tables = [Grid("", headings, rows), Grid("", ["operations", ">share", ">ms"], kinds)]
    return Page(f"Budget of {budget.model}", tables if kinds else tables[:1], NOTES, facts)


def _cells(line: Line, floor_ms: float) -> list[str]:
    return [
        *line.place,
        f"{line.macs / 1e9:.2f}" if line.macs else "",
        f"{line.bytes / 1e6:.1f}" if line.bytes else "",
        f"{line.arithmetic_ms:.2f}" if line.macs else "",
        f"{line.memory_ms:.2f}" if line.bytes else "",
        "" if line.ms is None else f"{line.ms:.2f}",
        "" if line.ms is None or not line.bytes else _share(floor_ms, line.ms),
    ]


def _share(floor: float, ms: float) -> str:
    return f"{floor / ms:.0%}" if ms else ""
