"""What is damaged in a run's folder, and data that are others: a run ends as it would have, or says why not."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from gcvit.data.shapes import write_class_folders
from gcvit.engine.run import run_events
from gcvit.errors import UserError
from gcvit.tasks.config import RunConfig
from gcvit.tasks.task import Task
from gcvit.tasks.train import train
from tasks.tiny import TASKS, TINY, every_task

from .killing import interrupt, same_bits

pytestmark = pytest.mark.usefixtures("without_report")


@every_task
def test_whatever_is_damaged_in_a_run_that_has_ended_it_says_the_same_again(
    tmp_path: Path, task: Task, tiny: RunConfig
) -> None:
    """Weights and their settings, the configuration and the log, all at once: the checkpoint has it all."""
    whole, out = tmp_path / "whole", tmp_path / "run"
    before = train(task, replace(tiny, keep_checkpoints=9), whole)
    shutil.copytree(whole, out)
    for name in ("best/model.safetensors", "best/config.json", "last/config.json"):
        content = bytearray((out / name).read_bytes())
        content[len(content) // 2] ^= 1
        (out / name).write_bytes(content)
    (out / "last" / "model.safetensors").unlink()
    (out / "train.json").write_bytes(b"\xff{")
    log = out / "log.jsonl"
    log.write_bytes(b"\xfe\xff\n5\n{}\n" + log.read_bytes().replace(b"loss", b"lo\xf3s"))
    (out / "report.html").unlink()
    again = train(task, replace(tiny, keep_checkpoints=9), out)
    assert same_bits(out, whole)
    assert again.evaluation.metrics == before.evaluation.metrics
    assert again.best_at == before.best_at
    for name in ("best", "last"):
        assert (out / name / "config.json").read_bytes() == (whole / name / "config.json").read_bytes()
    assert json.loads((out / "train.json").read_text()) == json.loads((whole / "train.json").read_text())
    told = [event for event in run_events(out) if event["event"] == "evaluation"]
    assert told == [event for event in run_events(whole) if event["event"] == "evaluation"]


def test_weights_of_which_no_checkpoint_tells_are_not_written_over(tmp_path: Path) -> None:
    """Somebody has removed the checkpoints of a run, which are large."""
    task, tiny = TASKS["classify"]
    out = train(task, tiny, tmp_path / "run").out
    before = (out / "best" / "model.safetensors").read_bytes()
    shutil.rmtree(out / "checkpoints")
    with pytest.raises(UserError, match="has the weights of a run, best/ and last/, but no checkpoint to go on from"):
        train(task, tiny, out)
    assert (out / "best" / "model.safetensors").read_bytes() == before


def test_without_a_folder_other_data_are_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although their names agree."""
    task, _ = TASKS["classify"]
    monkeypatch.chdir(tmp_path)
    for seed, data in enumerate(("a", "b")):
        write_class_folders(data, {"train": 20, "val": 10}, 32, seed=seed)
    config = replace(TINY, batch_size=10, accumulate=1, epochs=1, checkpoint_minutes=0.0)
    with monkeypatch.context() as patch:
        interrupt(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            train(task, replace(config, data="a"))
    (tmp_path / "a").rename(tmp_path / "c")
    assert train(task, replace(config, data="b")).out.name == "classify-002"
    with pytest.raises(UserError, match=r"data: a → c\. If the same images lie there now, add --data-moved"):
        train(task, replace(config, data="c"), "gcvit-runs/classify-001")
    assert train(task, replace(config, data="c"), resume="moved").out.name == "classify-001"
