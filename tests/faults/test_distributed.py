"""Two processes are one with two passes, stop together, and outlive each other."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gcvit.engine.config import save_config
from gcvit.engine.log import read_log
from gcvit.tasks.classify import train
from tasks.tiny import TINY

WORKER = Path(__file__).parent / "worker.py"
# Two passes on each of two processes: gradients stay where they are in the first and are averaged in the second.
TOGETHER = replace(TINY, accumulate=2, checkpoint_minutes=0.0)
ALONE = replace(TOGETHER, accumulate=4)


def torchrun(folder: Path, fault: str = "", *, restarts: int = 0, out: str = "run") -> subprocess.CompletedProcess:
    """Train TOGETHER on two processes into `folder`/`out`; fails after four minutes."""
    save_config(TOGETHER, folder / "config.json")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--max-restarts", str(restarts), "--monitor-interval", "0.1"]
    command += [str(WORKER), str(folder / "config.json"), str(folder / out), *([fault] if fault else [])]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)


def losses(run: Path) -> list[float]:
    return [event["loss"] for event in read_log(run / "log.jsonl") if event["event"] in ("steps", "evaluation")]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "last" / "model.safetensors")


def same_bits(one: Path, other: Path) -> bool:
    return all(torch.equal(tensor, weights(other)[name]) for name, tensor in weights(one).items())


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess:
    """Two processes that trained undisturbed."""
    folder = tmp_path_factory.mktemp("two")
    done = torchrun(folder)
    assert done.returncode == 0, done.stderr
    done.out = folder / "run"  # type: ignore[attr-defined]
    return done


@pytest.fixture(scope="module")
def two(done: subprocess.CompletedProcess) -> Path:
    """What they left behind."""
    return done.out  # type: ignore[attr-defined]


def test_two_processes_are_one_process_with_two_passes(two: Path, tmp_path: Path) -> None:
    """Mixing, dropped paths and erasing included. Sums are taken in another order, which AdamW carries on: 1e-4."""
    one = train(ALONE, tmp_path / "one").out
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    assert len(losses(two)) == 8
    differences = [(weights(two)[name] - tensor).abs().max().item() for name, tensor in weights(one).items()]
    assert max(differences) < 1e-4
    plain = train(replace(ALONE, seed=4), tmp_path / "other").out
    assert losses(two) != pytest.approx(losses(plain), rel=1e-3)


def test_only_rank_0_writes_and_speaks(done: subprocess.CompletedProcess, two: Path) -> None:
    assert done.stdout.count("best weights") == 1
    assert done.stderr.count("results go to") == 1
    events = read_log(two / "log.jsonl")
    assert [event["event"] for event in events].count("start") == 1
    assert events[0]["processes"] == 2


def test_a_rank_that_dies_is_restarted_and_training_goes_on(two: Path, tmp_path: Path) -> None:
    done = torchrun(tmp_path, "SIGKILL:0:4", restarts=1)
    assert done.returncode == 0, done.stderr
    assert "going on from step" in done.stderr
    assert same_bits(tmp_path / "run", two)


def test_without_restarts_the_others_do_not_wait_for_ever_and_another_number_goes_on(two: Path, tmp_path: Path) -> None:
    done = torchrun(tmp_path, "SIGKILL:1:7")
    assert done.returncode != 0
    one = train(ALONE, tmp_path / "run").out
    assert next(event["step"] for event in read_log(one / "log.jsonl") if event["event"] == "resume") == 3
    assert losses(one) == pytest.approx(losses(two), rel=1e-4)


def test_a_signal_to_one_rank_stops_all_at_the_same_step(two: Path, tmp_path: Path) -> None:
    done = torchrun(tmp_path, "SIGUSR1:1:2")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("saved at step 1 of 6, on SIGUSR1; the same command goes on from there") == 1
    assert torchrun(tmp_path).returncode == 0
    assert same_bits(tmp_path / "run", two)


def test_what_one_rank_alone_cannot_do_ends_the_others_too(tmp_path: Path) -> None:
    done = torchrun(tmp_path, "ERROR:1:5")
    assert done.returncode != 0
    assert "gcvit: rank 1: error: only this rank has a bad image" in done.stderr


HANGING = """
import time
from datetime import timedelta
from gcvit import distributed

with distributed.process_group(timedelta(seconds=3)):
    distributed.wait()
    if distributed.rank() == 1:
        time.sleep(1000)
    distributed.wait()
"""


def test_a_rank_that_hangs_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    script = tmp_path / "hanging.py"
    script.write_text(HANGING)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode != 0
    assert "imeout" in done.stderr or "imed out" in done.stderr
