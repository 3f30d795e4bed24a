"""Speed and peak memory of UPerNet on GC ViT-T, on timm's Swin-T, and of segmentation_models_pytorch's on a ResNet-50.

    python runs/segment_speed.py [--train-size 512 512] [--test-size 512 2048] [--batch 2] [--rounds 5] [--threads N]

A training step is forward, loss at the crop's size (with the auxiliary head's, where there is one), backward and AdamW;
a test pass is the logits of one picture at a quarter of its size, by the copy that evaluation uses (`fold()`, which
fuses batch norms into the convolutions of our heads, but not of the other package's model). All have
150 classes, decoders of 512 channels, random weights and no stochastic depth. They take turns, A B C, C B A, …, after a
round that warms up; a ratio is the median over the rounds of the ratio to the first within a round. Peak memory is of
a process that does nothing else: on a GPU what torch has allocated, on the CPU what the process holds beyond what it
held before the model was built (Linux). Ends with a table.
"""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import torch

import gcvit
from gcvit.bench.cost import macs, parameters
from gcvit.bench.peak import held
from gcvit.bench.peers import SWIN_SIZES, SmpSegmenter, SwinPyramid, swin
from gcvit.bench.report import machine
from gcvit.cli.output import facts, say, table
from gcvit.engine.device import autocast, resolve_device
from gcvit.engine.settings import Precision
from gcvit.tasks.segment.loss import SegmentLoss
from gcvit.tasks.segment.segmenter import SegmentationModel, Segmenter
from gcvit.tasks.segment.settings import UPerNetConfig

CLASSES, HEAD = 150, UPerNetConfig()
Size = tuple[int, int]


def gc_vit(crop: Size) -> SegmentationModel:
    """With the windows of Table 3, which do not depend on the crop."""
    backbone = gcvit.create_model("gcvit_tiny", img_size=crop, windows=(7, 7, 14, 7), head=False, drop_path=0.0)
    return Segmenter(backbone, CLASSES, HEAD)


def swin_tiny(crop: Size) -> SegmentationModel:
    return Segmenter(SwinPyramid(swin(*SWIN_SIZES["swin_tiny"], drop_path=0.0)), CLASSES, HEAD)


def resnet50(crop: Size) -> SegmentationModel:
    return SmpSegmenter("resnet50", CLASSES, channels=HEAD.channels)


ARMS: dict[str, Callable[[Size], SegmentationModel]] = {
    "GC ViT-T": gc_vit,
    "Swin-T": swin_tiny,
    "smp, ResNet-50": resnet50,
}


@dataclass(frozen=True)
class Settings:
    """What is measured and on what."""

    train_size: Size
    test_size: Size
    batch: int
    rounds: int
    threads: int
    device: str
    precision: Precision


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train-size", type=int, nargs=2, default=(512, 512), help="height and width in pixels")
    parser.add_argument("--test-size", type=int, nargs=2, default=(512, 2048), help="height and width in pixels")
    parser.add_argument("--batch", type=int, default=2, help="images of a training step")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    options = parser.parse_args()
    settings = Settings(**{**vars(options), "train_size": (*options.train_size,), "test_size": (*options.test_size,)})

    torch.set_num_threads(settings.threads)
    device = resolve_device(settings.device)
    rows = []
    for mode in ("train", "test"):
        memory = {name: alone(name, mode, settings) for name in ARMS}
        seconds = in_turns({name: prepared(name, mode, settings, device) for name in ARMS}, settings.rounds, device)
        first = next(iter(seconds.values()))
        size, images = (settings.train_size, settings.batch) if mode == "train" else (settings.test_size, 1)
        for name, values in seconds.items():
            with torch.device("meta"):
                model = ARMS[name](settings.train_size)
            middle = statistics.median(values)
            rows.append(
                [
                    f"{mode}, {images} × {size[0]}×{size[1]} px",
                    name,
                    f"{parameters(model) / 1e6:.1f}",
                    f"{macs(model, size) / 1e9:.1f}",
                    f"{middle:.3g}",
                    f"{min(values):.3g}–{max(values):.3g}",
                    f"{statistics.median(ours / other for ours, other in zip(first, values, strict=True)):.2f}",
                    f"{memory[name] / 2**20:.0f}",
                ]
            )
    facts([*machine(device).items(), ("precision", settings.precision), ("rounds", str(settings.rounds))])
    headings = ["what", "model", ">M parameters", ">GMACs an image", ">s", ">range", ">paired ×", ">peak MiB"]
    table(headings, rows)
    say(f"\npaired ×: how many times as fast as {next(iter(ARMS))}")


def prepared(name: str, mode: str, settings: Settings, device: torch.device) -> Callable[[], None]:
    """One training step or test pass of a model, ready to be called."""
    torch.manual_seed(0)
    model = ARMS[name](settings.train_size)
    if mode == "test":
        folded = model.fold().to(device)
        picture = torch.randn(1, 3, *settings.test_size, device=device).to(memory_format=torch.channels_last)

        def test() -> None:
            with torch.inference_mode(), autocast(device, settings.precision):
                folded(picture)

        return test

    model = model.to(device).train()
    images = torch.randn(settings.batch, 3, *settings.train_size, device=device)
    images = images.to(memory_format=torch.channels_last)  # as the engine gives them
    labels = torch.randint(CLASSES, (settings.batch, *settings.train_size), device=device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-8, fused=True)  # the weights stay what they are

    def train() -> None:
        with autocast(device, settings.precision):
            parts = SegmentLoss(HEAD.aux_weight)(model, (images, labels)).values()
        torch.stack([*parts]).sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return train


def in_turns(steps: dict[str, Callable[[], None]], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each step in each round."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        say(f"round {number} of {rounds}" if number else "warming up")
        for name in list(steps)[:: 1 if number % 2 else -1]:
            before = time.perf_counter()
            steps[name]()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if number:
                seconds[name].append(time.perf_counter() - before)
    return seconds


def alone(name: str, mode: str, settings: Settings) -> int:
    """Bytes that a model's step needs at most, in a process of its own."""
    say(f"{name}: peak memory, {mode}")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(peak_memory, name, mode, settings).result()


def peak_memory(name: str, mode: str, settings: Settings) -> int:
    """Bytes beyond what this process holds now: weights, optimiser, and all that two steps need."""
    torch.set_num_threads(settings.threads)
    device = resolve_device(settings.device)
    before = held(device)
    step = prepared(name, mode, settings, device)
    for _ in range(2):
        step()
    most = held(device, at_most=True)
    assert before is not None
    assert most is not None
    return most - before


if __name__ == "__main__":
    main()
