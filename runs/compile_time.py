"""How long compiling takes, and what is compiled again when batch or image size change.

    python runs/compile_time.py --out compile_time.json
    python runs/compile_time.py --ways blocks timm --steps inference --threads 1

Each way of compiling runs in a process of its own, without what earlier ones compiled. blocks: `compile_blocks`;
whole: `torch.compile` of our model; timm: of timm's. In inference ours are folded. Stop everything else meanwhile;
on two cores all of it takes about an hour, most of it the backward passes of whole models.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from gcvit import create_model
from gcvit.bench.report import machine
from gcvit.cli.output import table
from gcvit.files import write_json
from gcvit.model.compiling import compile_blocks

WAYS, STEPS = ("blocks", "whole", "timm"), ("inference", "training")
SHAPES = ((8, 224, 224), (5, 224, 224), (1, 224, 224), (8, 256, 256), (8, 224, 320))
REPEATS = 5


def build(way: str, name: str, training: bool) -> nn.Module:
    """The model, compiled from its first call on."""
    if way == "timm":
        model = timm.create_model(name).train(training)
    else:
        ours = create_model(name)
        model = ours.train() if training else ours.fold()
    if way == "blocks":
        return compile_blocks(model)
    model.compile()
    return model


def step_of(model: nn.Module, training: bool) -> Callable[[Tensor], None]:
    """A forward pass, and in training the backward pass too."""

    @torch.no_grad()
    def infer(images: Tensor) -> None:
        model(images)

    def train(images: Tensor) -> None:
        model(images).square().mean().backward()
        model.zero_grad()

    return train if training else infer


def measure(way: str, name: str, kind: str, device: torch.device) -> list[dict[str, Any]]:
    """Seconds of the first call with each shape, the graphs compiled in it, and milliseconds of a later one."""
    model = build(way, name, kind == "training").to(device)
    step, found = step_of(model, kind == "training"), []

    def seconds(images: Tensor) -> float:
        start = time.perf_counter()
        step(images)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    for shape in SHAPES:
        images = torch.randn(shape[0], 3, *shape[1:], device=device)
        before = counters["stats"]["unique_graphs"]
        row: dict[str, Any] = {"way": way, "step": kind, "shape": list(shape)}
        try:
            row["first_s"] = seconds(images)
        except (RuntimeError, AssertionError) as error:
            row["refused"] = str(error).splitlines()[0]
        else:
            row["graphs"] = counters["stats"]["unique_graphs"] - before
            row["later_ms"] = 1000 * median(seconds(images) for _ in range(REPEATS))
        found.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)  # what is there if the rest takes too long
    return found


def measure_afresh(way: str, kind: str, asked: argparse.Namespace) -> list[dict[str, Any]]:
    """`measure` in a new process, with empty caches."""
    options = ["--name", asked.name, "--device", asked.device, "--threads", str(asked.threads)]
    with tempfile.TemporaryDirectory() as cache:
        fresh = {"TORCHINDUCTOR_CACHE_DIR": cache, "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
        command = [sys.executable, __file__, "--ways", way, "--steps", kind, "--here", *options]
        done = subprocess.run(command, env=os.environ | fresh, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="gcvit_tiny")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="a JSON file")
    parser.add_argument("--here", action="store_true", help="in this process, one way and step; prints JSON")
    asked = parser.parse_args()

    device = torch.device(asked.device)
    torch.set_num_threads(asked.threads)
    if asked.here:
        print(json.dumps(measure(asked.ways[0], asked.name, asked.steps[0], device)))
        return
    rows = [row for kind in asked.steps for way in asked.ways for row in measure_afresh(way, kind, asked)]
    where = machine(device)
    for name, value in where.items():
        print(f"{name:9} {value}")
    lines = [
        [
            row["step"],
            row["way"],
            "{} × {}×{}".format(*row["shape"]),
            *(
                ["–", "–", "–", row["refused"][:60]]
                if "refused" in row
                else [f"{row['first_s']:.1f}", str(row["graphs"]), f"{row['later_ms']:.0f}", ""]
            ),
        ]
        for row in rows
    ]
    table(["step", "way", "images", "first s", "graphs", "later ms", ""], lines)
    if asked.out:
        write_json(asked.out, {"machine": where, "name": asked.name, "rows": rows})


if __name__ == "__main__":
    main()
