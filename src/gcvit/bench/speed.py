"""The speed of models side by side: they run in turns, so that what disturbs the machine disturbs all alike."""

import gc
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from math import ceil
from statistics import median
from time import perf_counter
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcvit.bench.contenders import Contender, build, differences, parse
from gcvit.bench.cost import macs, parameters
from gcvit.bench.machine import machine
from gcvit.engine.config import require
from gcvit.engine.device import autocast, resolve_device
from gcvit.model.config import SMALLEST_SIDE

WARM_UP_STEPS = 3
Step = Callable[[], None]
Runner = Callable[[Tensor], Tensor]
Say = Callable[[str], None]


@dataclass(frozen=True)
class SpeedConfig:
    """Compare the speed of GC ViTs with timm's and with other models, in turns.

    Raises ValueError, naming the setting, for a value out of range and for a model or form that does not exist.
    """

    models: tuple[str, ...] = ()
    """Written NAME[:folded][:channels_last][:compiled], with timm/ before a name of timm's; the first is the one
    that the others are compared with. Left out: timm's gcvit_tiny and ours."""
    batch_sizes: tuple[int, ...] = (1, 8)
    """Images in a batch, each of these in turn."""
    size: int = 224
    """Side of the image in pixels, at least 32."""
    mode: Literal["inference", "train"] = "inference"
    """A forward pass, or a training step: forward, loss, backward, AdamW; without drop path."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: autocast over fp32 weights, as in training."""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda or cuda:1."""
    rounds: int = 10
    """Turns of each model."""
    turn_seconds: float = 0.3
    """Least length of a turn: a fast model takes several steps in it."""
    threads: int | None = None
    """CPU threads; left out: as many as torch chooses."""
    same_weights: bool = True
    """Give GC ViTs of one architecture the same weights and stop if their outputs differ."""

    def __post_init__(self) -> None:
        require(
            len(self.batch_sizes) > 0 and min(self.batch_sizes) >= 1, "batch_sizes", self.batch_sizes, "1 or more each"
        )
        require(self.size >= SMALLEST_SIDE, "size", self.size, f"at least {SMALLEST_SIDE} pixels")
        require(self.rounds >= 1, "rounds", self.rounds, "at least 1")
        require(0 <= self.turn_seconds < float("inf"), "turn_seconds", self.turn_seconds, "at least 0")
        require(self.threads is None or self.threads >= 1, "threads", self.threads, "at least 1, or none")
        for contender in self.contenders:
            if contender.folded and self.mode == "train":
                raise ValueError(f"{contender}: a folded copy cannot be trained; leave :folded out")

    @property
    def contenders(self) -> list[Contender]:
        """The models, read; those to compare by default when none are named."""
        named = self.models or ("timm/gcvit_tiny", "gcvit_tiny")
        if not self.models and self.mode == "inference":
            named = (*named, "gcvit_tiny:folded")
        return [parse(name) for name in named]


@dataclass(frozen=True)
class Row:
    """One model at one batch size.

    turns_ms: milliseconds per batch in each of its turns; median_ms and quartiles_ms: over the turns.
    speedup: the first model's median over this one's; paired_speedup: the median over rounds of that ratio within a
        round, which slow changes of the machine's speed hardly touch.
    difference: distance from the logits of the first model of the same architecture, ‖Δ‖ / ‖first‖; None without one.
    peak_memory: bytes of GPU memory for weights, optimiser and one step; None on the CPU.
    parameters: of the model as run; macs: multiply-accumulates of one image forward.
    """

    model: str
    batch_size: int
    turns_ms: tuple[float, ...]
    median_ms: float
    quartiles_ms: tuple[float, float]
    images_per_second: float
    speedup: float
    paired_speedup: float
    difference: float | None
    peak_memory: int | None
    parameters: int
    macs: int


def run(config: SpeedConfig, progress: Say | None = None) -> list[Row]:
    """Measure every model at every batch size; rows in the order of batch sizes, then of models.

    Each model warms up, then all take turns, A B C, C B A, A B C …, of whole steps; clocks stop after the device has
    finished. A model that no longer fits the GPU's memory raises torch's error. progress: told what is going on.
    """
    say: Say = progress or (lambda text: None)
    device = resolve_device(config.device)
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads or threads)
    try:
        return [row for batch_size in config.batch_sizes for row in _compare(config, batch_size, device, say)]
    finally:
        torch.set_num_threads(threads)


def table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Headings and cells for people; a heading that starts with ">" is one of numbers. Columns that say nothing
    (memory on the CPU, differences without a twin) are left out."""
    columns: dict[str, list[str]] = {
        ">batch": [str(row.batch_size) for row in rows],
        "model": [row.model for row in rows],
        ">ms": [_digits(row.median_ms) for row in rows],
        ">quartiles": [f"{_digits(row.quartiles_ms[0])}–{_digits(row.quartiles_ms[1])}" for row in rows],
        ">images/s": [_digits(row.images_per_second) for row in rows],
        ">×": [f"{row.speedup:.2f}" for row in rows],
        ">paired ×": [f"{row.paired_speedup:.2f}" for row in rows],
        ">memory": ["" if row.peak_memory is None else f"{row.peak_memory / 2**20:.0f} MiB" for row in rows],
        ">Δ": ["" if row.difference is None else f"{row.difference:.0e}" for row in rows],
    }
    kept = {heading: cells for heading, cells in columns.items() if any(cells)}
    return list(kept), [list(cells) for cells in zip(*kept.values(), strict=True)]


def as_json(config: SpeedConfig, rows: Sequence[Row]) -> dict[str, object]:
    """The machine, the settings and every row, as plain JSON types."""
    settings = {field.name: getattr(config, field.name) for field in fields(SpeedConfig)}
    settings["models"] = [str(contender) for contender in config.contenders]
    return {"machine": describe(config), "settings": settings, "rows": [asdict(row) for row in rows]}


def describe(config: SpeedConfig) -> dict[str, str]:
    """The machine that `config` runs on, name → value."""
    found = machine(resolve_device(config.device))
    return found if config.threads is None else found | {"threads": str(config.threads)}


def _compare(config: SpeedConfig, batch_size: int, device: torch.device, say: Say) -> list[Row]:
    contenders = config.contenders
    if any(contender.compiled for contender in contenders):
        torch.compiler.reset()  # each batch size compiled for itself; torch gives up after a number of variants
    say(f"batch {batch_size}: building the models")
    models = build(contenders, config.size, same_weights=config.same_weights, no_drop_path=config.mode == "train")
    costs = [_cost(contender, model, config.size) for contender, model in zip(contenders, models, strict=True)]
    apart: list[float | None] = [None] * len(models)
    if config.same_weights:
        say(f"batch {batch_size}: comparing the outputs")
        apart = differences(contenders, models, config.size)

    steps, memory = [], []
    for contender, model in zip(contenders, models, strict=True):
        say(f"batch {batch_size}: {'compiling' if contender.compiled else 'warming up'} {contender}")
        step, peak = _prepare(contender, model, batch_size, config, device)
        steps.append(step)
        memory.append(peak)
    counts = [max(1, ceil(config.turn_seconds / (_milliseconds(step, 1, device) / 1e3))) for step in steps]

    turns: list[list[float]] = [[] for _ in steps]
    for round_ in range(config.rounds):
        say(f"batch {batch_size}: round {round_ + 1} of {config.rounds}")
        order = range(len(steps)) if round_ % 2 == 0 else reversed(range(len(steps)))
        for index in order:
            turns[index].append(_milliseconds(steps[index], counts[index], device))
    return [
        _row(str(contender), batch_size, turns[index], turns[0], apart[index], memory[index], costs[index])
        for index, contender in enumerate(contenders)
    ]


def _cost(contender: Contender, model: nn.Module, size: int) -> tuple[int, int]:
    """Parameters and MACs; finds out, before any time is spent, whether the model takes such images."""
    try:
        return parameters(model), macs(model, size)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ValueError(f"{contender} does not take images of {size} px: {error}") from error


def _prepare(
    contender: Contender, model: nn.Module, batch_size: int, config: SpeedConfig, device: torch.device
) -> tuple[Step, int | None]:
    """The step to time, warmed up, and the bytes of GPU memory that the model, its optimiser and a step take."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(batch_size, 3, config.size, config.size, generator=generator).to(device)
    labels = torch.randint(1000, (batch_size,), generator=generator).to(device)
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.mm(*torch.ones(2, 8, 8, device=device))  # the library's workspace, lest the first model pay for it
    held = torch.cuda.memory_allocated(device) if on_gpu else 0
    model = model.to(device)
    if contender.channels_last:
        model, images = model.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
    model.train(config.mode == "train")
    runner: Runner = torch.compile(model, dynamic=False) if contender.compiled else model
    if config.mode == "train":
        step = _training_step(runner, list(model.parameters()), images, labels, config, device)
    else:
        step = _inference_step(runner, images, config, device)
    for _ in range(WARM_UP_STEPS):
        step()
    if not on_gpu:
        return step, None
    torch.cuda.synchronize(device)
    gc.collect()
    torch.cuda.reset_peak_memory_stats(device)
    step()
    torch.cuda.synchronize(device)
    return step, torch.cuda.max_memory_allocated(device) - held


def _inference_step(runner: Runner, images: Tensor, config: SpeedConfig, device: torch.device) -> Step:
    def step() -> None:
        with torch.inference_mode(), autocast(device, config.precision):
            runner(images)

    return step


def _training_step(
    runner: Runner,
    weights: list[nn.Parameter],
    images: Tensor,
    labels: Tensor,
    config: SpeedConfig,
    device: torch.device,
) -> Step:
    # So small a rate that the weights stay what they are, however long it runs.
    optimizer = torch.optim.AdamW(weights, lr=1e-8, weight_decay=0.05, fused=True)

    def step() -> None:
        with autocast(device, config.precision):
            loss = F.cross_entropy(runner(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def _milliseconds(step: Step, count: int, device: torch.device) -> float:
    """Of one step, over `count` of them."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = perf_counter()
    for _ in range(count):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (perf_counter() - start) * 1e3 / count


def _row(
    model: str,
    batch_size: int,
    turns: list[float],
    first: list[float],
    difference: float | None,
    memory: int | None,
    cost: tuple[int, int],
) -> Row:
    lower, middle, upper = (float(value) for value in np.percentile(turns, (25, 50, 75)))
    return Row(
        model=model,
        batch_size=batch_size,
        turns_ms=tuple(turns),
        median_ms=middle,
        quartiles_ms=(lower, upper),
        images_per_second=batch_size * 1e3 / middle,
        speedup=median(first) / middle,
        paired_speedup=median(a / b for a, b in zip(first, turns, strict=True)),
        difference=difference,
        peak_memory=memory,
        parameters=cost[0],
        macs=cost[1],
    )


def _digits(value: float) -> str:
    """Three digits or more, as measurements deserve no more."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
