"""A classification run that is killed and started again ends with the same bits as one that was not."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gcvit.engine.config import save_config
from gcvit.engine.log import read_log
from gcvit.engine.stopping import Stopped, StopRequest
from gcvit.tasks.classify import train
from gcvit.tasks.classify.task import ClassifyTask
from tasks.tiny import TINY

from .killing import interrupt, same_bits

# Mixing, erasing, a moving average, two passes per step, three steps per epoch, a checkpoint after each.
EVERY_STEP = replace(TINY, checkpoint_minutes=0.0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    return train(TINY, tmp_path_factory.mktemp("whole") / "run").out


@pytest.mark.parametrize(
    ("workers", "losses"),
    [(0, 1), (0, 4), (0, 6), (1, 10), (2, 3)],  # the even ones are the second pass of a step
)
def test_killed_between_and_inside_steps(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, losses: int
) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch, ClassifyTask, losses)
        with pytest.raises(KeyboardInterrupt):
            train(replace(EVERY_STEP, workers=workers), tmp_path / "run")
    train(replace(TINY, workers=workers), tmp_path / "run")
    assert same_bits(tmp_path / "run", whole, 6)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_saves_at_the_end_of_the_step(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        interrupt(patch, ClassifyTask, 3, number)
        stopped = KeyboardInterrupt if number == signal.SIGINT else Stopped
        with pytest.raises(stopped, match=rf"saved at step 2 of 6, on {number.name}; the same command goes on"):
            train(TINY, tmp_path / "run")
    assert signal.getsignal(number) == before
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-000000002"]
    train(TINY, tmp_path / "run")
    assert same_bits(tmp_path / "run", whole, 6)
    resumed = [event for event in read_log(tmp_path / "run" / "log.jsonl") if event["event"] == "resume"]
    assert [event["step"] for event in resumed] == [2]


def test_a_finished_run_says_its_result_again(whole: Path) -> None:
    before = load_file(whole / "last" / "model.safetensors")
    again = train(TINY, whole)
    assert again.images_per_second is None
    assert all(
        torch.equal(tensor, before[name]) for name, tensor in load_file(again.last / "model.safetensors").items()
    )


def test_another_configuration_or_other_images_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch, ClassifyTask, 5)
        with pytest.raises(KeyboardInterrupt):
            train(EVERY_STEP, tmp_path / "run")
    changed = replace(TINY, epochs=3, optim=replace(TINY.optim, lr=0.5))
    with pytest.raises(ValueError, match=r"optim\.lr: 0\.001 → 0\.5; epochs: 2 → 3"):
        train(changed, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr("gcvit.data.shapes.ShapesDataset.name", lambda self, index: f"another {index}")
        with pytest.raises(ValueError, match="other names of the training images"):
            train(TINY, tmp_path / "run")


def test_another_number_of_passes_keeps_the_images_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch, ClassifyTask, 5)
        with pytest.raises(KeyboardInterrupt):
            train(EVERY_STEP, tmp_path / "run")
    train(replace(TINY, accumulate=1), tmp_path / "run")
    assert "processes × passes: 2 → 1. The order of the images stays" in capsys.readouterr().err


def command(config: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "gcvit", "train", "classify", "--config", str(config), "--out", str(out)]


def steps_done(log: Path) -> int:
    return (
        max((event["step"] for event in read_log(log) if event["event"] == "steps"), default=0) if log.exists() else 0
    )


def wait_for(condition: Iterator[bool], process: subprocess.Popen, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    for holds in condition:
        if holds:
            return
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


def test_sigkill_of_the_real_command(whole: Path, tmp_path: Path) -> None:
    """Kill -9 as soon as the second step is done, wherever that is; then the same command at once, while the loader
    processes of the first may still live."""
    save_config(replace(EVERY_STEP, workers=2), tmp_path / "train.json")
    out = tmp_path / "run"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command(tmp_path / "train.json", out), env=environment, stderr=subprocess.PIPE, text=True
    )
    wait_for((steps_done(out / "log.jsonl") >= 2 for _ in iter(int, 1)), process)
    process.kill()
    process.wait()
    again = subprocess.run(
        command(tmp_path / "train.json", out), env=environment, capture_output=True, text=True, check=True
    )
    assert "going on from step" in again.stderr
    assert same_bits(out, whole, 6)


def test_a_damaged_checkpoint_costs_its_steps_and_nothing_else(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also when an epoch that was evaluated must be trained again."""
    with monkeypatch.context() as patch:
        interrupt(patch, ClassifyTask, 9)  # the fifth step
        with pytest.raises(KeyboardInterrupt):
            train(replace(EVERY_STEP, keep_checkpoints=9), tmp_path / "run")
    for step in (3, 4):  # the third is the end of an epoch
        file = tmp_path / "run" / "checkpoints" / f"step-00000000{step}" / "optimizer.pt"
        file.write_bytes(file.read_bytes()[:-1])
    train(replace(TINY, keep_checkpoints=9), tmp_path / "run")
    said = capsys.readouterr().err
    assert said.count("damaged, its SHA-256 is not the one in meta.json") == 2
    assert "going on from step 2 of 6" in said
    assert same_bits(tmp_path / "run", whole, 6)
    evaluations = [
        event["epoch"] for event in read_log(tmp_path / "run" / "log.jsonl") if event["event"] == "evaluation"
    ]
    assert evaluations == [1, 2]


def test_a_signal_during_an_evaluation_stops_after_it(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evaluate(self: ClassifyTask, model: torch.nn.Module) -> dict[str, float]:
        signal.raise_signal(signal.SIGTERM)
        return original(self, model)

    original = ClassifyTask.evaluate
    with monkeypatch.context() as patch:
        patch.setattr(ClassifyTask, "evaluate", evaluate)
        with pytest.raises(Stopped, match="saved at step 4 of 6"):
            train(TINY, tmp_path / "run")
    train(TINY, tmp_path / "run")
    assert same_bits(tmp_path / "run", whole, 6)


def test_a_second_ctrl_c_stops_at_once() -> None:
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_dead_loader_worker_is_an_error_and_not_a_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def kill_a_worker(self: ClassifyTask, model: torch.nn.Module, batch: tuple) -> torch.Tensor:
        for child in torch.multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL)  # type: ignore[arg-type]
        return original(self, model, batch)

    original = ClassifyTask.loss
    monkeypatch.setattr(ClassifyTask, "loss", kill_a_worker)
    start = time.monotonic()
    with pytest.raises(ValueError, match=r"a process that loads images has died .*Lower workers \(1\)"):
        train(replace(TINY, workers=1, train_images=480, epochs=2), tmp_path / "run")
    assert time.monotonic() - start < 30
