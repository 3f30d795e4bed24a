"""A run that is killed and started again ends with the same bits as one that was not."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from apart import Apart
from faults import worker
from gcvit.engine.config import save_config
from gcvit.engine.log import read_log
from gcvit.engine.stopping import Stopped, StopRequest
from gcvit.tasks import TASKS, task_named
from gcvit.tasks.config import RunConfig
from gcvit.tasks.train import TrainingObjective, TrainResult
from gcvit.tasks.train import train as train_task
from tasks.tiny import TINY, TINY_OBJECTS, TINY_SCENES

from .killing import interrupt, same_bits

pytestmark = pytest.mark.usefixtures("without_report")

# Everything on, and two passes per step. A classifier: three steps in each of two epochs. A segmentation model: five
# steps over an endless row of passes, evaluated every two; and each counted as the other is.
RUNS: dict[str, RunConfig] = {
    "classify": TINY,
    "segment": TINY_SCENES,
    "detect": TINY_OBJECTS,
    "classify, in steps": replace(TINY, epochs=None, steps=5, eval_every=2),
    "segment, in epochs": replace(TINY_SCENES, steps=None, epochs=3, eval_every=1),
}
both = pytest.mark.parametrize("run", ["classify", "segment"])


def train(config: RunConfig, out: Path) -> TrainResult:
    return train_task(next(task for task in TASKS if isinstance(config, task.config)), config, out)


def every_step(config: RunConfig, **changes: Any) -> RunConfig:
    """With a checkpoint after each."""
    return replace(config, checkpoint_minutes=0.0, **changes)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """An uninterrupted run."""
    return cache(lambda run: train(RUNS[run], tmp_path_factory.mktemp("whole") / "run").out)


def evaluations(out: Path, unit: str) -> list[int]:
    return [event[unit] for event in read_log(out / "log.jsonl") if event["event"] == "evaluation"]


@pytest.mark.parametrize(
    ("run", "workers", "losses"),
    [
        *(("classify", *fault) for fault in ((0, 1), (0, 4), (1, 10), (2, 3))),  # even: a step's second pass
        *(("segment", *fault) for fault in ((0, 1), (0, 4), (1, 5), (0, 9))),
        *(("detect", *fault) for fault in ((0, 3), (1, 6))),
        ("classify, in steps", 0, 6),
        ("segment, in epochs", 1, 3),
    ],
)
def test_killed_between_and_inside_steps(
    whole: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run: str,
    workers: int,
    losses: int,
) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch, losses)
        with pytest.raises(KeyboardInterrupt):
            train(every_step(RUNS[run], workers=workers), tmp_path / "run")
    train(replace(RUNS[run], workers=workers), tmp_path / "run")
    assert same_bits(tmp_path / "run", whole(run))
    unit = RUNS[run].unit
    assert evaluations(tmp_path / "run", unit) == evaluations(whole(run), unit)
    assert evaluations(whole(run), unit) == ([2, 4, 5] if RUNS[run].steps else list(range(1, RUNS[run].epochs + 1)))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("run", "number", "losses", "saved"),
    [
        ("classify", signal.SIGTERM, 3, "2 of 6"),
        ("classify", signal.SIGUSR1, 3, "2 of 6"),
        ("classify", signal.SIGINT, 3, "2 of 6"),
        ("segment", signal.SIGTERM, 5, "3 of 5"),
    ],
)
def test_a_signal_saves_at_the_end_of_the_step(
    whole: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run: str,
    number: signal.Signals,
    losses: int,
    saved: str,
) -> None:
    before, step = signal.getsignal(number), int(saved[0])
    with monkeypatch.context() as patch:
        interrupt(patch, losses, number)
        stopped = KeyboardInterrupt if number == signal.SIGINT else Stopped
        with pytest.raises(stopped, match=rf"saved at step {saved}, on {number.name}; the same command goes on"):
            train(RUNS[run], tmp_path / "run")
    assert signal.getsignal(number) == before
    evaluated = [2] if run == "segment" else []  # before the signal, and saved then
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == [f"step-{at:09}" for at in (*evaluated, step)]
    train(RUNS[run], tmp_path / "run")
    assert same_bits(tmp_path / "run", whole(run))
    resumed = [event for event in read_log(tmp_path / "run" / "log.jsonl") if event["event"] == "resume"]
    assert [event["step"] for event in resumed] == [step]


@both
def test_a_finished_run_says_its_result_again(whole: Callable[[str], Path], run: str) -> None:
    before = load_file(whole(run) / "last" / "model.safetensors")
    again = train(RUNS[run], whole(run))
    assert again.images_per_second is None
    after = load_file(again.last / "model.safetensors")
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())


def test_another_configuration_or_other_images_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            train(every_step(TINY), tmp_path / "run")
    changed = replace(TINY, epochs=3, optim=replace(TINY.optim, lr=0.5))
    with pytest.raises(ValueError, match=r"epochs: 2 → 3; optim\.lr: 0\.001 → 0\.5"):
        train(changed, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr("gcvit.data.shapes.ShapesDataset.name", lambda self, index: f"another {index}")
        with pytest.raises(ValueError, match="other names of the training images"):
            train(TINY, tmp_path / "run")


@pytest.mark.parametrize("run", ["segment", "classify, in steps"])
def test_other_stretches_between_evaluations_are_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: str
) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            train(every_step(RUNS[run]), tmp_path / "run")
    with pytest.raises(ValueError, match="eval_every: 2 → 3"):
        train(every_step(RUNS[run], eval_every=3), tmp_path / "run")


@pytest.mark.parametrize("run", ["classify", "segment, in epochs"])
def test_epochs_may_be_evaluated_less_often_than_before(
    whole: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: str
) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            train(every_step(RUNS[run]), tmp_path / "run")
    again = train(replace(RUNS[run], eval_every=9), tmp_path / "run")
    assert evaluations(again.out, "epoch") == [RUNS[run].epochs]
    ours, theirs = (load_file(out / "last" / "model.safetensors") for out in (again.out, whole(run)))
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


@both
def test_another_number_of_passes_keeps_the_images_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], run: str
) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            train(every_step(RUNS[run]), tmp_path / "run")
    train(replace(RUNS[run], accumulate=1), tmp_path / "run")
    assert "processes × passes: 2 → 1. The order of the images stays" in capsys.readouterr().err


def steps_done(log: Path) -> int:
    return (
        max((event["step"] for event in read_log(log) if event["event"] == "steps"), default=0) if log.exists() else 0
    )


@pytest.mark.parametrize("run", ["classify", "detect"])
def test_sigkill_of_the_real_command(whole: Callable[[str], Path], tmp_path: Path, run: str) -> None:
    """Kill -9 as soon as the second step is done, wherever that is; then the same command at once, while the loader
    processes of the first may still live."""
    save_config(every_step(RUNS[run], workers=2), tmp_path / "train.json")
    out = tmp_path / "run"
    words = [run, str(tmp_path / "train.json"), str(out)]
    process = Apart(worker.train, *words)
    end = time.monotonic() + 120
    while steps_done(out / "log.jsonl") < 2:
        assert process.running, process.done().stderr
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)
    process.kill()
    assert process.done().returncode == -signal.SIGKILL
    again = Apart(worker.train, *words).done()
    assert again.returncode == 0, again.stderr
    assert "going on from step" in again.stderr
    assert same_bits(out, whole(run))


def test_a_damaged_checkpoint_costs_its_steps_and_nothing_else(
    whole: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also when an epoch that was evaluated must be trained again."""
    with monkeypatch.context() as patch:
        interrupt(patch, 9)  # the fifth step
        with pytest.raises(KeyboardInterrupt):
            train(every_step(TINY, keep_checkpoints=9), tmp_path / "run")
    for step in (3, 4):  # the third is the end of an epoch
        file = tmp_path / "run" / "checkpoints" / f"step-00000000{step}" / "optimizer.pt"
        file.write_bytes(file.read_bytes()[:-1])
    train(replace(TINY, keep_checkpoints=9), tmp_path / "run")
    said = capsys.readouterr().err
    assert said.count("damaged, its SHA-256 is not the one in meta.json") == 2
    assert "going on from step 2 of 6" in said
    assert same_bits(whole("classify"), tmp_path / "run")
    assert evaluations(tmp_path / "run", "epoch") == [1, 2]


@pytest.mark.parametrize(("run", "saved"), [("classify", "4 of 6"), ("segment", "3 of 5")])
def test_a_signal_during_an_evaluation_stops_after_it(
    whole: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: str, saved: str
) -> None:
    def evaluate(self: TrainingObjective, model: torch.nn.Module) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return original(self, model)

    original = TrainingObjective.evaluate
    with monkeypatch.context() as patch:
        patch.setattr(TrainingObjective, "evaluate", evaluate)
        with pytest.raises(Stopped, match=f"saved at step {saved}"):
            train(RUNS[run], tmp_path / "run")
    train(RUNS[run], tmp_path / "run")
    assert same_bits(tmp_path / "run", whole(run))


@both
def test_a_kill_in_an_evaluation_is_made_up_for(
    whole: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: str
) -> None:
    original, count = TrainingObjective.evaluate, iter(range(1, 100))

    def evaluate(self: TrainingObjective, model: torch.nn.Module) -> Any:
        if next(count) == 2:
            raise KeyboardInterrupt
        return original(self, model)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingObjective, "evaluate", evaluate)
        with pytest.raises(KeyboardInterrupt):
            train(RUNS[run], tmp_path / "run")
    train(RUNS[run], tmp_path / "run")
    assert same_bits(tmp_path / "run", whole(run))


def test_a_second_ctrl_c_stops_at_once() -> None:
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_dead_loader_worker_is_an_error_and_not_a_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def kill_a_worker(self: TrainingObjective, model: torch.nn.Module, batch: tuple) -> Any:
        for child in torch.multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL)  # type: ignore[arg-type]
        return original(self, model, batch)

    original = TrainingObjective.loss
    monkeypatch.setattr(TrainingObjective, "loss", kill_a_worker)
    start = time.monotonic()
    with pytest.raises(ValueError, match=r"a process that loads images has died .*Lower workers \(1\)"):
        train(replace(TINY, workers=1, train_images=480, epochs=2), tmp_path / "run")
    assert time.monotonic() - start < 60


def test_the_runs_here_are_of_the_tasks_that_they_are_called_by() -> None:
    for run, config in RUNS.items():
        assert isinstance(config, task_named(run.partition(",")[0]).config)
