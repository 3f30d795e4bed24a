"""Where the time of a forward pass goes: by part of the model, and by kind of operation."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from gcvit.bench.work import Place, place_of

MARK = "gcvit/"
# The first that fits an operation's name.
KINDS = {
    "attention": r"[Aa]ttention|softmax|bmm",
    "products": r"addmm|aten::(mm|matmul|linear)$|_linear_pointwise|mkldnn_linear",
    "GELU": r"gelu",
    "norms": r"layer_norm|batch_norm",
    "convolutions": r"conv",
    "copies": r"copy|clone|contiguous|aten::(to|cat|pad|flip|reshape)$|constant_pad|fill|zero",
    "sums, means, pooling": r"aten::(add|add_|mul|mul_|sum|mean|sigmoid|div)$|pool|upsample",
}
OTHER = "Python and the rest"


class Spent(NamedTuple):
    """Shares of the time, each dictionary's of 1."""

    by_place: dict[Place, float]
    by_kind: dict[str, float]


def where_time_goes(model: nn.Module, forward: Callable[[], object], device: torch.device, passes: int = 3) -> Spent:
    """Profile `passes` calls of `forward`, which runs `model`, a GC ViT that is called module by module: not compiled,
    recorded or exported. On a GPU it is the kernels' time that is counted, on the CPU that of the operations and of
    Python between them."""
    on_gpu = device.type == "cuda"
    os.environ.setdefault(
        "KINETO_LOG_LEVEL", "99"
    )  # else it reports on stderr that it starts, and that there is no GPU
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with _marked(model), profile(activities=activities) as profiler:
        for _ in range(passes):
            forward()
        if on_gpu:
            torch.cuda.synchronize(device)
    by_place: dict[Place, float] = {}
    by_kind: dict[str, float] = {}
    for event in profiler.events() or ():
        marked = event
        while marked is not None and not marked.name.startswith(MARK):
            marked = marked.cpu_parent
        if marked is None:
            continue
        time = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        place, kind = Place(*marked.name.removeprefix(MARK).split("/")), kind_of(event.name)
        by_place[place] = by_place.get(place, 0.0) + time
        by_kind[kind] = by_kind.get(kind, 0.0) + time
    return Spent(_shares(by_place), _shares(by_kind))


def kind_of(operation: str) -> str:
    """What an operation of torch's profiler belongs to: one of `KINDS`, or the rest."""
    if operation.startswith(MARK):
        return OTHER
    return next((kind for kind, names in KINDS.items() if re.search(names, operation)), OTHER)


@contextmanager
def _marked(model: nn.Module) -> Iterator[None]:
    """Ranges of the profile, one for each call of a submodule that lies elsewhere than the one around it."""
    handles = []
    for name, module in model.named_modules():
        place = place_of(name)
        if name and place == place_of(name.rpartition(".")[0]):
            continue
        open_ranges: list[record_function] = []

        def enter(*_: object, place: Place = place, ranges: list = open_ranges) -> None:
            ranges.append(record_function(MARK + "/".join(place)))
            ranges[-1].__enter__()

        def leave(*_: object, ranges: list = open_ranges) -> None:
            ranges.pop().__exit__(None, None, None)

        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _shares(times: dict) -> dict:
    total = sum(times.values())
    return {name: time / total for name, time in times.items()}
