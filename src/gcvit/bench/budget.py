"""A model's budget on a machine: arithmetic, least bytes, the two floors that they set, and where time goes."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median

import torch

from gcvit.bench.building import build
from gcvit.bench.contenders import RUNTIMES, Contender, parse
from gcvit.bench.floors import Rates, measure_rates
from gcvit.bench.forms import Conditions, prepare
from gcvit.bench.machine import machine
from gcvit.bench.profiling import Spent, where_time_goes
from gcvit.bench.settings import BudgetConfig
from gcvit.bench.timing import take_turn
from gcvit.bench.work import MLP, REST, Place, Work, work
from gcvit.engine.device import resolve_device
from gcvit.errors import UserError
from gcvit.factory import create_model

WARM_UP_STEPS = 3
NOT_BY_PART = {"compiled", "blocks", "cudagraph", *RUNTIMES}


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


def run(model: str, config: BudgetConfig, progress: Callable[[str], None] | None = None) -> Budget:
    """Measure `model`, one of ours written NAME[:FORM]….

    Raises UserError for another's model and a form that cannot run on the device.
    """
    say = progress or (lambda text: None)
    contender, device = parse(model), resolve_device(config.device)
    if not contender.ours:
        raise UserError(f"{contender}: a budget is made of our models' parts; take {contender.architecture or 'ours'}")
    conditions = Conditions(device, config.precision)
    conditions.check(contender)
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads or threads)
    try:
        return _measure(contender, config, conditions, say)
    finally:
        torch.set_num_threads(threads)


def _measure(contender: Contender, config: BudgetConfig, conditions: Conditions, say: Callable[[str], None]) -> Budget:
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


def describe(config: BudgetConfig) -> dict[str, str]:
    """The machine that `config` runs on, name → value."""
    found = machine(resolve_device(config.device))
    return found if config.threads is None else found | {"threads": str(config.threads)}


def as_json(config: BudgetConfig, budget: Budget) -> dict[str, object]:
    """The machine, the settings and the budget, as plain JSON types."""
    found = asdict(budget) | {"floor_ms": budget.floor_ms, "rates": budget.rates._asdict()}
    found["lines"] = [asdict(line) | {"place": line.place._asdict()} for line in budget.lines]
    return {"machine": describe(config), "settings": asdict(config), "budget": found}
