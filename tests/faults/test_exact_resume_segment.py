"""A segmentation run, counted in steps over an endless row of passes, goes on with the same bits too."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gcvit.engine.config import save_config
from gcvit.engine.log import read_log
from gcvit.engine.stopping import Stopped
from gcvit.tasks.segment.config import SegmentConfig
from gcvit.tasks.segment.data import open_scenes
from gcvit.tasks.segment.evaluate import Evaluator
from gcvit.tasks.segment.saving import open_segmenter
from gcvit.tasks.segment.task import SegmentTask
from gcvit.tasks.segment.train import train
from tasks.tiny import TINY_SCENES

from .killing import interrupt, same_bits

EVERY_STEP = replace(TINY_SCENES, checkpoint_minutes=0.0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    return train(TINY_SCENES, tmp_path_factory.mktemp("whole") / "run").out


@pytest.mark.parametrize(("workers", "losses"), [(0, 1), (0, 4), (1, 5), (0, 9)])
def test_killed_between_and_inside_steps(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, losses: int
) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch, SegmentTask, losses)
        with pytest.raises(KeyboardInterrupt):
            train(replace(EVERY_STEP, workers=workers), tmp_path / "run")
    train(replace(TINY_SCENES, workers=workers), tmp_path / "run")
    assert same_bits(tmp_path / "run", whole, 5)
    evaluated = [event["step"] for event in read_log(tmp_path / "run" / "log.jsonl") if event["event"] == "evaluation"]
    assert evaluated == [2, 4, 5]


def test_a_signal_saves_at_the_end_of_the_step(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch, SegmentTask, 5, signal.SIGTERM)
        with pytest.raises(Stopped, match="saved at step 3 of 5, on SIGTERM"):
            train(TINY_SCENES, tmp_path / "run")
    train(TINY_SCENES, tmp_path / "run")
    assert same_bits(tmp_path / "run", whole, 5)


def test_a_kill_in_an_evaluation_is_made_up_for(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, count = SegmentTask.evaluate, iter(range(1, 100))

    def evaluate(self: SegmentTask, model: torch.nn.Module) -> dict[str, float]:
        if next(count) == 2:
            raise KeyboardInterrupt
        return original(self, model)

    with monkeypatch.context() as patch:
        patch.setattr(SegmentTask, "evaluate", evaluate)
        with pytest.raises(KeyboardInterrupt):
            train(TINY_SCENES, tmp_path / "run")
    train(TINY_SCENES, tmp_path / "run")
    assert same_bits(tmp_path / "run", whole, 5)


def test_other_stretches_between_evaluations_are_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch, SegmentTask, 5)
        with pytest.raises(KeyboardInterrupt):
            train(EVERY_STEP, tmp_path / "run")
    with pytest.raises(ValueError, match="eval_every: 2 → 3"):
        train(replace(EVERY_STEP, eval_every=3), tmp_path / "run")


def run_with_two_processes(config: SegmentConfig, folder: Path) -> Path:
    """Train on two processes of the CPU; returns the run's folder."""
    save_config(config, folder / "config.json")
    script = "import sys, torch; torch.set_num_threads(1); from gcvit.cli.main import main; main(sys.argv[1:])"
    (folder / "worker.py").write_text(script)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", str(folder / "worker.py")]
    command += ["train", "segment", "--config", str(folder / "config.json"), "--out", str(folder / "two")]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=240, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return folder / "two"


def test_two_processes_do_what_one_does_in_two_passes(tmp_path: Path) -> None:
    """Up to the order of additions; each evaluates its share, and the counts are those of one. With group norm: the
    statistics of a batch norm are each process's own where there is no GPU."""
    config = replace(TINY_SCENES, head=replace(TINY_SCENES.head, norm="group"))
    alone = train(config, tmp_path / "alone").out
    two = run_with_two_processes(replace(config, accumulate=1), tmp_path)
    logs = [
        [event["loss"] for event in read_log(path / "log.jsonl") if event["event"] in ("steps", "evaluation")]
        for path in (alone, two)
    ]
    assert logs[1] == pytest.approx(logs[0], rel=1e-3)
    ours, theirs = (load_file(path / "last" / "model.safetensors") for path in (alone, two))
    for name, tensor in ours.items():
        torch.testing.assert_close(theirs[name], tensor, rtol=0, atol=5e-3, msg=name)


def test_with_batch_norm_two_processes_evaluate_the_model_that_is_saved(tmp_path: Path) -> None:
    """Although each has its own statistics while it trains."""
    two = run_with_two_processes(replace(TINY_SCENES, accumulate=1), tmp_path)
    (*_, last) = (event for event in read_log(two / "log.jsonl") if event["event"] == "evaluation")
    opened, scenes = open_segmenter(two / "last"), open_scenes(TINY_SCENES).held_out
    evaluator = Evaluator(scenes, opened.preprocessing)
    again = evaluator(opened.model.fold(), device=torch.device("cpu")).metrics
    assert again == pytest.approx({name: last[name] for name in again}, rel=1e-5)
