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
TOGETHER = replace(TINY, accumulate=1, checkpoint_minutes=0.0)


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
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes have trained."""
    folder = tmp_path_factory.mktemp("two")
    done = torchrun(folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_two_processes_are_one_process_with_two_passes(two: Path, tmp_path: Path) -> None:
    """Mixing, dropped paths and erasing included. Sums are taken in another order, which AdamW carries on: 1e-4."""
    one = train(replace(TOGETHER, accumulate=2), tmp_path / "one").out
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    assert len(losses(two)) == 8
    differences = [(weights(two)[name] - tensor).abs().max().item() for name, tensor in weights(one).items()]
    assert max(differences) < 1e-4
    plain = train(replace(TOGETHER, accumulate=1, seed=4), tmp_path / "other").out
    assert losses(two) != pytest.approx(losses(plain), rel=1e-3)


def test_only_rank_0_writes_and_speaks(two: Path) -> None:
    events = read_log(two / "log.jsonl")
    assert [event["event"] for event in events].count("start") == 1
    assert events[0]["processes"] == 2


def test_a_rank_that_dies_is_restarted_and_training_goes_on(two: Path, tmp_path: Path) -> None:
    done = torchrun(tmp_path, "SIGKILL:0:4", restarts=1)
    assert done.returncode == 0, done.stderr
    assert "going on from step" in done.stderr
    assert same_bits(tmp_path / "run", two)


def test_without_restarts_the_others_do_not_wait_for_ever_and_another_number_goes_on(two: Path, tmp_path: Path) -> None:
    done = torchrun(tmp_path, "SIGKILL:1:5")
    assert done.returncode != 0
    one = train(replace(TOGETHER, accumulate=2), tmp_path / "run").out
    assert next(event["step"] for event in read_log(one / "log.jsonl") if event["event"] == "resume") in (3, 4)
    assert losses(one) == pytest.approx(losses(two), rel=1e-4)


def test_a_signal_to_one_rank_stops_all_at_the_same_step(two: Path, tmp_path: Path) -> None:
    done = torchrun(tmp_path, "SIGUSR1:1:2")
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if "stopped" in line]
    assert len(said) == 2
    assert all("saved at step 2 of 6" in line for line in said)
    assert torchrun(tmp_path).returncode == 0
    assert same_bits(tmp_path / "run", two)


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
    assert "Timed out" in done.stderr or "imeout" in done.stderr
