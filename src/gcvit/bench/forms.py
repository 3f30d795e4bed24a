"""How a contender's model is made to run: in its memory format, compiled, recorded as a graph or exported."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import torch
from torch import Tensor, nn

from gcvit.bench.contenders import INFERENCE_ONLY, Contender
from gcvit.engine.device import autocast
from gcvit.errors import UserError
from gcvit.export.convert import convert
from gcvit.export.formats import SUFFIXES
from gcvit.export.runtime import load
from gcvit.model.compiling import compile_blocks
from gcvit.model.config import Pair
from gcvit.model.gcvit import Stage

Outputs = Tensor | list[Tensor]
Forward = Callable[[], Outputs]
CALIBRATION_BATCHES = 4


@dataclass(frozen=True)
class Conditions:
    """What a comparison has in common.

    precision: "fp32"; "bf16" is autocast over fp32 weights, as in training; "pure-bf16" has weights and images in
        bfloat16 too.
    """

    device: torch.device
    precision: str = "fp32"
    training: bool = False

    def check(self, contender: Contender) -> None:
        """Raises UserError for a contender that cannot run so."""
        if self.training and (forms := contender.forms & INFERENCE_ONLY):
            raise UserError(f"{contender}: {' and '.join(sorted(forms))} cannot be trained; leave it out")
        if "cudagraph" in contender.forms and self.device.type != "cuda":
            raise UserError(f"{contender}: CUDA graphs need a CUDA device; leave cudagraph out")
        if contender.runtime and (self.device.type != "cpu" or self.precision != "fp32"):
            raise UserError(f"{contender}: exported files run on the CPU, in fp32; add --device cpu, or leave it out")


def prepare(
    contender: Contender, model: nn.Module, images: Tensor, conditions: Conditions
) -> tuple[nn.Module, Forward]:
    """The model, moved to the device and in the right mode, and a function that runs it on `images` (batch, 3, height,
    width), a CPU tensor. What it returns may be overwritten by the next call.

    Raises UserError where an export or a package that it needs is missing.
    """
    if contender.runtime is not None:
        return model, _exported(contender, model, images)
    dtype = torch.bfloat16 if conditions.precision == "pure-bf16" else torch.float32
    model, images = model.to(conditions.device, dtype).train(conditions.training), images.to(conditions.device, dtype)
    if "channels_last" in contender.forms:
        model, images = model.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
    if "sdpa" in contender.forms:
        for stage in model.modules():
            if isinstance(stage, Stage):
                stage.fused = _never  # type: ignore[method-assign]  # a comparison is the only one to want this
    run: Callable[[Tensor], Outputs] = model
    if "blocks" in contender.forms:
        run = compile_blocks(model)
    elif "compiled" in contender.forms:
        run = torch.compile(model, dynamic=False)

    precision: Literal["fp32", "bf16"] = "bf16" if conditions.precision == "bf16" else "fp32"

    def forward() -> Outputs:
        # No inference mode in training; autocast ends with every call, and with it its cache of cast weights.
        with torch.inference_mode(not conditions.training), autocast(conditions.device, precision):
            return run(images)

    return model, _recorded(forward, conditions.device) if "cudagraph" in contender.forms else forward


def _never(x: Tensor) -> bool:
    return False


def _recorded(forward: Forward, device: torch.device) -> Forward:
    """The calls of the kernels as one CUDA graph. It has to run before it is recorded: that is when kernels are chosen,
    compiled and given their workspace, and not on the default stream."""
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(3):
            forward()
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = forward()

    def replay() -> Outputs:
        graph.replay()
        return outputs

    return replay


def _exported(contender: Contender, model: nn.Module, images: Tensor) -> Forward:
    runtime = contender.runtime
    assert runtime is not None
    size: Pair = (images.shape[2], images.shape[3])
    generator = torch.Generator().manual_seed(0)
    noise = [torch.randn(images[:2].shape, generator=generator) for _ in range(CALIBRATION_BATCHES)]
    with TemporaryDirectory(prefix="gcvit-bench-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / f"model{SUFFIXES[runtime]}"
        convert(model, path, runtime, size, calibration=noise if "int8" in contender.forms else None)
        program = load(path, runtime)
    return lambda: program(images)
