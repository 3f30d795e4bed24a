"""The speed of models side by side: they run in turns, so that what disturbs the machine disturbs all alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcvit.bench.building import Twins, build, tolerance
from gcvit.bench.contenders import DETECTORS, PEERS, TORCHVISION, Contender, parse
from gcvit.bench.cost import macs, parameters
from gcvit.bench.detectors import Learning, counted, objects
from gcvit.bench.forms import Conditions, Forward, prepare
from gcvit.bench.peak import beyond
from gcvit.bench.report import Say
from gcvit.bench.settings import SpeedConfig
from gcvit.bench.timing import Step, Turn, energy_meter, take_turn, threads_of
from gcvit.engine.device import resolve_device
from gcvit.errors import UserError, require
from gcvit.model.config import Pair

WARM_UP_STEPS = 3
DETECTOR_FORMS = {"folded", "channels_last", "sdpa"}


def contenders_of(config: SpeedConfig) -> list[Contender]:
    """The models, read; those to compare by default when none are named. Raises UserError for a model or form that does
    not exist."""
    named = config.models or (("timm/gcvit_tiny", "gcvit_tiny") if config.heads is None else DETECTORS)
    if not config.models and config.mode == "inference":
        named = (*named, "gcvit_tiny:folded")
    if config.peers and config.heads is None:
        named = (*named, *(peer for peer in PEERS if peer not in {name.split(":")[0] for name in named}))
    return [parse(name, config.forms) for name in named]


def check(config: SpeedConfig) -> None:
    """Raise UserError for models that do not exist, or cannot be compared so, or not on the device."""
    contenders = contenders_of(config)
    if torchvision := [contender for contender in contenders if contender.name == TORCHVISION]:
        require(config.heads is not None, "part", config.part, f"mask-rcnn or cascade, with {torchvision[0]}")
    conditions = Conditions(resolve_device(config.device), config.precision, config.mode == "train")
    for contender in contenders:
        conditions.check(contender)
        if config.heads is not None and (forms := contender.forms - DETECTOR_FORMS):
            raise UserError(f"{contender}: detectors are not compared {' and '.join(sorted(forms))}; leave it out")


@dataclass(frozen=True)
class Row:
    """One model at one batch size.

    turns_ms: milliseconds per batch in each of its turns; median_ms and quartiles_ms: over the turns.
    steps: single steps in all turns; percentiles_ms: the 50th, 90th and 99th of their lengths, None for one that fewer
        than 10 or 100 steps do not tell.
    speedup: the first model's median over this one's; paired_speedup: the median over rounds of that ratio within a
        round, which slow changes of the machine's speed hardly touch.
    difference: distance from the outputs of the first model of the same weights, as run, ‖Δ‖ / ‖first‖; None without.
    peak_memory: bytes for weights, optimiser, images and one step: on a GPU what torch has allocated, on the CPU what
        the process holds; None for a graph, an exported file, and where the system does not tell.
    joules_per_image: the card's, or None where it does not tell.
    parameters: of the model as run; macs: multiply-accumulates of one image forward.
    """

    model: str
    batch_size: int
    turns_ms: tuple[float, ...]
    median_ms: float
    quartiles_ms: tuple[float, float]
    steps: int
    percentiles_ms: tuple[float, float | None, float | None]
    images_per_second: float
    speedup: float
    paired_speedup: float
    difference: float | None
    peak_memory: int | None
    joules_per_image: float | None
    parameters: int
    macs: int


def run(config: SpeedConfig, say: Say = lambda text: None) -> list[Row]:
    """Measure every model at every batch size; rows in the order of batch sizes, then of models.

    Each model warms up and is compared with the first of its weights, then all take turns, A B C, C B A, A B C …, of
    whole steps. A model that no longer fits the GPU's memory raises torch's error. say: told what is going on.
    Raises UserError as `check` does, and when models of the same weights do not agree.
    """
    check(config)
    device = resolve_device(config.device)
    with threads_of(config.threads):
        return [row for batch_size in config.batch_sizes for row in _compare(config, batch_size, device, say)]


def _compare(config: SpeedConfig, batch_size: int, device: torch.device, say: Say) -> list[Row]:
    contenders, training = contenders_of(config), config.mode == "train"
    same_weights = config.same_weights and config.heads is None  # what detectors find is no tensor
    torch.compiler.reset()  # each batch size compiled for itself; torch gives up after a number of variants
    say(f"batch {batch_size}: building the models")
    models = build(
        contenders,
        config.sides,
        part=config.part,
        windows=config.windows,
        same_weights=same_weights,
        no_drop_path=training,
    )
    costs = [_cost(contender, model, config.sides) for contender, model in zip(contenders, models, strict=True)]

    conditions = Conditions(device, config.precision, training)
    twins = Twins(config.part, tolerance(config.precision, device)) if same_weights else None
    ready = []
    for contender, model in zip(contenders, models, strict=True):
        way = next((w for w in ("compiled", "blocks") if w in contender.forms), contender.runtime)
        say(f"batch {batch_size}: {'warming up' if way is None else 'compiling'} {contender}")
        ready.append(_prepare(contender, model, batch_size, config, conditions, twins))
    steps = [prepared.step for prepared in ready]
    energy = energy_meter(device)
    counts = [max(1, ceil(config.turn_seconds * 1e3 / take_turn(step, 1, device).mean_ms)) for step in steps]

    turns: list[list[Turn]] = [[] for _ in steps]
    for round_ in range(config.rounds):
        say(f"batch {batch_size}: round {round_ + 1} of {config.rounds}")
        order = range(len(steps)) if round_ % 2 == 0 else reversed(range(len(steps)))
        for index in order:
            turns[index].append(take_turn(steps[index], counts[index], device, energy))
    return [
        _row(str(contender), batch_size, turns[index], turns[0], ready[index], costs[index])
        for index, contender in enumerate(contenders)
    ]


def _cost(contender: Contender, model: nn.Module, size: Pair) -> tuple[int, int]:
    """Parameters and MACs; finds out, before any time is spent, whether the model takes such images."""
    try:
        return parameters(model), macs(counted(model), size)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise UserError(f"{contender} does not take images of {size[0]}×{size[1]} px: {error}") from error


@dataclass(frozen=True)
class Prepared:
    """The step to time, warmed up; the bytes that the model, its optimiser and a step take; and how far its outputs are
    from its twin's."""

    step: Step
    peak_memory: int | None
    difference: float | None


def _prepare(
    contender: Contender,
    model: nn.Module,
    batch_size: int,
    config: SpeedConfig,
    conditions: Conditions,
    twins: Twins | None,
) -> Prepared:
    device = conditions.device
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(batch_size, 3, *config.sides, generator=generator)
    labels = torch.randint(1000, (batch_size,), generator=generator)
    if device.type == "cuda":
        torch.mm(*torch.ones(2, 8, 8, device=device))  # the library's workspace, lest the first model pay for it
    if training_detector := config.heads is not None and conditions.training:
        model = Learning(model, objects(batch_size, config.sides, device))
    before = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
    model, forward = prepare(contender, model, images, conditions)
    difference = twins.difference(contender, forward()) if twins else None
    step: Step = forward
    optimizer = None
    if conditions.training:
        # So small a rate that the weights stay what they are, however long it runs.
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-8, weight_decay=0.05, fused=True)
        step = _training_step(forward, optimizer, None if training_detector else labels.to(device))
    for _ in range(WARM_UP_STEPS):
        step()
    if contender.runtime is not None or "cudagraph" in contender.forms:
        return Prepared(step, None, difference)
    peak = beyond(step, device)
    if device.type == "cuda":
        return Prepared(step, torch.cuda.max_memory_allocated(device) - before, difference)
    states = optimizer.state.values() if optimizer else []  # what the process held before is all models'
    lasting = [images, *model.parameters(), *model.buffers(), *(part for state in states for part in state.values())]
    return Prepared(step, None if peak is None else peak + sum(part.nbytes for part in lasting), difference)


def _training_step(forward: Forward, optimizer: torch.optim.Optimizer, labels: Tensor | None) -> Step:
    """labels: of what gives logits; None where the loss is given."""

    def step() -> None:
        found = forward()
        assert isinstance(found, Tensor)
        (found if labels is None else F.cross_entropy(found.float(), labels)).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def _row(
    model: str, batch_size: int, turns: Sequence[Turn], first: Sequence[Turn], ready: Prepared, cost: tuple[int, int]
) -> Row:
    means, steps = [turn.mean_ms for turn in turns], [length for turn in turns for length in turn.steps_ms]
    lower, middle, upper = (float(value) for value in np.percentile(means, (25, 50, 75)))
    p50, p90, p99 = (float(value) for value in np.percentile(steps, (50, 90, 99)))
    joules = [turn.joules for turn in turns if turn.joules is not None]
    return Row(
        model=model,
        batch_size=batch_size,
        turns_ms=tuple(means),
        median_ms=middle,
        quartiles_ms=(lower, upper),
        steps=len(steps),
        percentiles_ms=(p50, p90 if len(steps) >= 10 else None, p99 if len(steps) >= 100 else None),
        images_per_second=batch_size * 1e3 / middle,
        speedup=median(turn.mean_ms for turn in first) / middle,
        paired_speedup=median(a.mean_ms / b for a, b in zip(first, means, strict=True)),
        difference=ready.difference,
        peak_memory=ready.peak_memory,
        joules_per_image=sum(joules) / (batch_size * len(steps)) if joules else None,
        parameters=cost[0],
        macs=cost[1],
    )
