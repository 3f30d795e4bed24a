"""How torch's threads on the CPU should wait for each other: images/s under several settings of OpenMP.

    python runs/threads.py [--rounds 5] [--seconds 2] [--patience 60]

Threads meet at the end of every operation, and who comes first spins until the others are there. On a quiet machine
that is the fastest way to wait; beside other work it takes from the others the core that they need. Each setting has a
process of its own, and they take turns; each is measured quiet, and beside two busy loops (`while True: pass`). A small
model (the quickstart's, 64 px) and a large one (gcvit_tiny, 224 px); training is the step alone, prediction the folded
copy's. While anything else takes more than a tenth of a core, it waits, and what was disturbed is measured again. Ends
with Markdown tables of the medians. Linux only.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from statistics import median
from typing import Any

SETTINGS = {
    "torch's own": {},
    "GOMP_SPINCOUNT=1000": {"GOMP_SPINCOUNT": "1000"},
    "GOMP_SPINCOUNT=10000": {"GOMP_SPINCOUNT": "10000"},
    "GOMP_SPINCOUNT=100000": {"GOMP_SPINCOUNT": "100000"},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    "OMP_NUM_THREADS=1": {"OMP_NUM_THREADS": "1"},
}
MODELS = {"gcvit_pico": (64, 32), "gcvit_tiny": (224, 8)}  # pixels a side, images at once
CONDITIONS = {"quiet": 0, "beside two busy loops": 2}
OTHERS = 0.1  # of a core, that others may take


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2, help="of each measurement, after half as many to warm up")
    parser.add_argument("--patience", type=float, default=60, help="seconds to wait for others, at each measurement")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        work(asked.seconds)
        return

    found: dict[str, dict[tuple[str, str], list[float]]] = {what: {} for what in CONDITIONS}
    taken: dict[str, list[float]] = {what: [] for what in CONDITIONS}
    for number in range(asked.rounds):
        for name, setting in SETTINGS.items():
            with process([__file__, "--worker", "--seconds", str(asked.seconds)], setting) as worker:
                for job in (jobs := json.loads(line_of(worker))):
                    for what, loops in CONDITIONS.items():
                        speed, others = measure(worker, job, loops, asked.patience)
                        found[what].setdefault((job, name), []).append(speed)
                        taken[what].append(others)
                        print(f"{number} {name}: {job}, {what}: {speed:.3g}, {others:.2f}", file=sys.stderr, flush=True)
    for what in CONDITIONS:
        print(f"\nImages/s, {what}, median of {asked.rounds}; others took {max(taken[what]):.2f} cores at most:\n")
        print(f"| | {' | '.join(jobs)} |\n|---|{'---:|' * len(jobs)}")
        for name in SETTINGS:
            print(f"| {name} | {' | '.join(f'{median(found[what][job, name]):.3g}' for job in jobs)} |")


@contextmanager
def process(arguments: Sequence[str], setting: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Python, with these variables alone among those that OpenMP reads."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "KMP_", "MKL_"))}
    running = subprocess.Popen(
        [sys.executable, *arguments],
        env=environment | setting,
        text=True,
        bufsize=1,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield running
    finally:
        running.kill()
        running.wait()


def measure(worker: subprocess.Popen[str], job: str, loops: int, patience: float) -> tuple[float, float]:
    """Images/s of a job beside so many busy loops, and the cores that others took meanwhile."""
    end = time.monotonic() + patience
    while True:
        while cores_of([], lambda: time.sleep(1))[1] > OTHERS and time.monotonic() < end:
            time.sleep(2)
        with ExitStack() as stack:
            ours = [worker, *(stack.enter_context(process(["-c", "while True: pass"], {})) for _ in range(loops))]
            speed, others = cores_of(ours, lambda: float(ask(worker, job)))
        if others <= OTHERS or time.monotonic() >= end:
            return speed, others


def ask(worker: subprocess.Popen[str], job: str) -> str:
    assert worker.stdin is not None
    worker.stdin.write(job + "\n")
    return line_of(worker)


def line_of(worker: subprocess.Popen[str]) -> str:
    assert worker.stdout is not None
    return worker.stdout.readline()


def cores_of(ours: Sequence[subprocess.Popen[str]], act: Callable[[], Any]) -> tuple[Any, float]:
    """What an action returns, and how many cores others than these processes took meanwhile."""
    clock, before = time.perf_counter(), busy_time() - sum(map(processor_time, ours))
    result = act()
    return result, (busy_time() - sum(map(processor_time, ours)) - before) / (time.perf_counter() - clock)


def busy_time() -> float:
    """Seconds that all cores together have worked since the machine started."""
    with open("/proc/stat") as file:
        user, nice, system, _idle, _waiting, *rest = map(int, file.readline().split()[1:9])
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")


def processor_time(running: subprocess.Popen[str]) -> float:
    """Seconds that the cores have worked for a process."""
    with open(f"/proc/{running.pid}/stat") as file:
        user, system = map(int, file.read().rsplit(")", 1)[1].split()[11:13])
    return (user + system) / os.sysconf("SC_CLK_TCK")


def work(seconds: float) -> None:
    """Say which jobs there are, then do those that stdin names and say how fast they went."""
    import torch

    import gcvit

    jobs: dict[str, tuple[Callable[[], object], int]] = {}
    for name, (side, batch) in MODELS.items():
        torch.manual_seed(0)
        trained = gcvit.create_model(name, img_size=side).train()
        folded = trained.eval().fold()
        trained.train()
        images, labels = torch.randn(batch, 3, side, side), torch.randint(1000, (batch,))
        optimizer = torch.optim.AdamW(trained.parameters(), lr=1e-4, fused=True)

        def predict(model=folded, images=images) -> None:
            with torch.inference_mode():
                model(images)

        def train(model=trained, images=images, labels=labels, optimizer=optimizer) -> None:
            torch.nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
            optimizer.zero_grad()

        short = name.removeprefix("gcvit_")
        jobs[f"{short}: predict 1"] = partial(predict, images=images[:1]), 1
        jobs[f"predict {batch} at once"] = predict, batch
        jobs[f"train, batch {batch}"] = train, batch
    print(json.dumps(list(jobs)), flush=True)
    for line in sys.stdin:
        job, images_each = jobs[line.strip()]
        start = time.perf_counter()
        while time.perf_counter() < start + seconds / 2:
            job()
        start, done = time.perf_counter(), 0
        while time.perf_counter() < start + seconds:
            job()
            done += images_each
        print(done / (time.perf_counter() - start), flush=True)


if __name__ == "__main__":
    main()
