"""The log: every line is JSON, and a person sees progress with and without a terminal."""

import io
import json
import re
import sys
from pathlib import Path

import pytest
from rich.console import Console

from gcvit.engine import log as log_module
from gcvit.engine.log import RunLog, read_log


def run(path: Path, *, terminal: bool) -> str:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=terminal, width=120, soft_wrap=True)
    with RunLog(path, epochs=2, steps=4, console=console) as log:
        log.event("start", classes=["☂", "b"])
        assert list(log.track("drawing", 3, range(3))) == [0, 1, 2]
        for step in range(1, 5):
            log.steps(step, (step + 1) // 2, images=32, seconds=0.25, loss=1 / 3, lr=1e-3)
        log.evaluation(1, {"top1": 0.5, "loss": 1 / 3}, step=2, best=True, seconds=0.1)
        assert (log.images, log.seconds) == (128, 1.0)
    return screen.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_every_line_is_an_event(tmp_path: Path, terminal: bool) -> None:
    run(tmp_path / "log.jsonl", terminal=terminal)
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [event["event"] for event in events] == ["start", *["steps"] * 4, "evaluation"]
    assert events[0]["classes"] == ["☂", "b"]
    assert events[1] | {"time": 0} == {
        "event": "steps", "time": 0, "step": 1, "epoch": 1, "loss": 0.333333, "lr": 0.001, "images_per_second": 128.0,
        "memory_gib": events[1]["memory_gib"],
    }  # fmt: skip
    assert 0.05 < events[1]["memory_gib"] < 100
    assert events[5]["best"] is True
    assert read_log(tmp_path / "log.jsonl") == events


def test_plain_lines_without_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "PLAIN_EVERY", 0.0)
    monkeypatch.setattr(log_module, "SURE_AFTER", 0.0)
    text = run(tmp_path / "log.jsonl", terminal=False)
    assert "drawing: 3\n" in text
    assert re.search(r"epoch 2/2  step 3/4  loss 0\.333  128 images/s  \d+\.\d GiB  0:00:00 left\n", text)
    assert "epoch 1/2  held-out: top1 0.5000  loss 0.3333  (best)\n" in text
    assert "\x1b" not in text


def test_a_bar_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "SURE_AFTER", 0.0)
    text = run(tmp_path / "log.jsonl", terminal=True)
    assert "epoch 2/2" in text
    assert "128 images/s" in text
    assert "left" in text


def test_an_error_is_the_last_event_and_a_cut_off_line_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with pytest.raises(OSError, match="full"), RunLog(path, epochs=1, steps=1) as log:
        raise OSError("the disk is full")
    with pytest.raises(ValueError, match="JSON compliant"), RunLog(path, epochs=1, steps=1) as log:
        log.event("steps", loss=float("nan"))
    with path.open("a") as file:
        file.write('{"event": "st')
    assert [event["error"].split(":")[0] for event in read_log(path)] == ["OSError", "ValueError"]


def test_what_was_done_again_is_read_once(tmp_path: Path) -> None:
    """A run that is killed at step 4 and goes on from step 2, whose evaluation was the first epoch's."""
    path = tmp_path / "log.jsonl"
    with RunLog(path, epochs=3, steps=6) as log:
        for step in range(1, 5):
            log.steps(step, (step + 1) // 2, images=1, seconds=1, loss=step)
        log.evaluation(1, {"top1": 0.1}, step=2, best=True, seconds=1)
        log.evaluation(2, {"top1": 0.2}, step=4, best=True, seconds=1)
    with path.open("a") as file:
        file.write('{"event": "st')
    with RunLog(path, epochs=3, steps=6) as log:
        log.event("resume", step=2, evaluated=1)
        log.steps(3, 2, images=1, seconds=1, loss=30)
    events = read_log(path)
    assert [event.get("loss", event["event"]) for event in events] == [1, 2, "evaluation", "resume", 30]
    assert len(path.read_text().splitlines()) == 9  # nothing is thrown away


def test_tensorboard_is_asked_for_by_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match=r"pip install 'gcvit\[tensorboard\]'"):
        RunLog(tmp_path / "log.jsonl", epochs=1, steps=1, tensorboard=True)
