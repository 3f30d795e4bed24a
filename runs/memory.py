"""Memory of training GC ViT-T per image, with and without gradient checkpointing, and of inference at 2048×2048.

    python runs/memory.py [--device auto] [--precision fp32] [--out memory.json]

Each number is of a process that does nothing else. Training is one forward and backward pass, without an optimiser
(AdamW adds 8 bytes a parameter, whatever the batch): of the classifier at several sizes, built for each, and of the
backbone of a segmentation model, with the windows of the paper's Table 3. A batch's memory is what the process holds at
most beyond what it held with the model built; bytes an image are the slope between two batches, which leaves out the
gradients of the weights. Inference is of one image, by the published classifier, plain and folded; the whole process
counts as well, as that is what has to fit into a machine. On the CPU memory is what the kernel counts as resident
(Linux), on a GPU what torch has allocated. Ends with two tables.
"""

import argparse
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch

import gcvit
from gcvit.bench.peak import held
from gcvit.bench.report import machine
from gcvit.cli.output import facts, next_steps, say, table
from gcvit.engine.device import autocast, resolve_device
from gcvit.engine.settings import Precision
from gcvit.files import write_json

MODEL = "gcvit_tiny"
TRAINING = (("classifier", 224), ("classifier", 384), ("classifier", 512), ("backbone", 512))
LARGE = 2048  # pixels a side that inference has to bear
LIMIT = 4 * 2**30  # bytes of the whole process that it may take on the CPU
WINDOWS = (7, 7, 14, 7)  # of Table 3, whatever the crop


class Case(NamedTuple):
    """What one process does. part: classifier or backbone. mode: train, checkpointed, plain or folded."""

    part: str
    mode: str
    side: int
    batch: int
    device: str
    precision: Precision
    threads: int


class Memory(NamedTuple):
    """Bytes: at most beyond what was held before, and at most in all."""

    added: int
    whole: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs=2, default=(1, 3), help="images of the two training batches")
    parser.add_argument("--side", type=int, default=LARGE, help="of the square image for inference, in pixels")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU")
    parser.add_argument("--out", type=Path, help="also write the numbers as JSON")
    options = parser.parse_args()
    few, many = sorted(options.batches)
    if not 1 <= few < many:
        parser.error("--batches are two numbers of images, at least 1 and not the same")
    torch.set_num_threads(options.threads)
    settings = str(resolve_device(options.device)), options.precision, options.threads

    training = []
    for part, side in TRAINING:
        for mode in ("train", "checkpointed"):
            less, more = (alone(Case(part, mode, side, batch, *settings)).added for batch in (few, many))
            each = (more - less) / (many - few)
            row = {"part": part, "mode": mode, "side": side, str(few): less, str(many): more, "bytes_per_image": each}
            training.append(row)
    inference = []
    for mode in ("plain", "folded"):
        memory = alone(Case("classifier", mode, options.side, 1, *settings))
        inference.append({"mode": mode, "side": options.side, **memory._asdict()})

    about = {"model": MODEL, **machine(torch.device(settings[0])), "precision": options.precision}
    facts(about.items())
    show(training, inference, few, many)
    if options.out:
        found = {"about": about, "batches": [few, many], "training": training, "inference": inference}
        write_json(options.out, found)
        next_steps(["python", "-m", "json.tool", options.out])


def show(training: list[dict], inference: list[dict], few: int, many: int) -> None:
    """The two tables, in MiB."""
    rows = []
    for row in training:
        sizes = (row[str(few)], row[str(many)], row["bytes_per_image"])
        rows.append([row["part"], f"{row['side']} px", row["mode"], *map(mebibytes, sizes)])
    table(["training", "size", "mode", f">batch {few}", f">batch {many}", ">an image (MiB)"], rows)
    rows = []
    for row in inference:
        verdict = "fits 4 GiB" if row["whole"] < LIMIT else "more than 4 GiB"
        rows.append([f"{row['side']} px", row["mode"], *map(mebibytes, (row["added"], row["whole"])), verdict])
    table(["inference", "model", ">added", ">whole process (MiB)", "goal"], rows)


def mebibytes(size: float) -> str:
    return f"{size / 2**20:.0f}"


def alone(case: Case) -> Memory:
    """The memory of a case in a process of its own."""
    say(f"{case.part}, {case.mode}, {case.batch} × {case.side} px")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(measure, case).result()


def measure(case: Case) -> Memory:
    """Build the model, note what the process holds, and do one step."""
    torch.set_num_threads(case.threads)
    torch.manual_seed(0)
    device = resolve_device(case.device)
    backbone, training = case.part == "backbone", case.mode in ("train", "checkpointed")
    windows, size = (WINDOWS if backbone else None), (case.side if training else None)
    model = gcvit.create_model(MODEL, img_size=size, windows=windows, head=not backbone, drop_path=0.0)
    if case.mode == "folded":
        model = model.fold()
    else:
        model = model.train(training)
        model.set_grad_checkpointing(case.mode == "checkpointed")
    model = model.to(device)
    images = torch.randn(case.batch, 3, case.side, case.side, device=device).to(memory_format=torch.channels_last)
    before = held(device)
    with torch.set_grad_enabled(training), autocast(device, case.precision):
        found = model(images)
        loss = sum(x.float().mean() for x in (found if backbone else [found]))
    if isinstance(loss, torch.Tensor) and loss.requires_grad:
        loss.backward()
    most = held(device, at_most=True)
    assert before is not None
    assert most is not None
    return Memory(most - before, most)


if __name__ == "__main__":
    main()
