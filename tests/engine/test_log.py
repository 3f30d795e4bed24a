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


def test_parts_of_the_loss_are_told_and_what_is_absent_is_a_dash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "PLAIN_EVERY", 0.0)
    screen = io.StringIO()
    with RunLog(tmp_path / "log.jsonl", epochs=1, steps=2, console=Console(file=screen, width=200)) as log:
        log.steps(1, 1, images=32, seconds=0.25, loss=0.75, loss_class=0.5, loss_box=0.25, grad_norm=1.0)
        log.evaluation(1, {"ap": 0.5, "ap_small": None}, step=2, best=False, seconds=0.1)
    text = screen.getvalue()
    assert re.search(r"  loss 0\.750 \(class 0\.500, box 0\.250\)  128 images/s", text)
    assert "epoch 1/1  held-out: ap 0.5000  ap_small –\n" in text


def test_a_bar_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "SURE_AFTER", 0.0)
    text = run(tmp_path / "log.jsonl", terminal=True)
    assert "epoch 2/2" in text
    assert "128 images/s" in text
    assert "left" in text


@pytest.mark.parametrize("epochs", [2, None])
def test_the_bar_moves_with_each_step_and_tells_what_goes_on(tmp_path: Path, epochs: int | None) -> None:
    """Before any value is known, for they come later."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=140)

    def look() -> str:
        log._progress.refresh()  # type: ignore[union-attr]
        return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", screen.getvalue().rpartition("\r")[2])

    with RunLog(tmp_path / "log.jsonl", epochs=epochs, steps=4, console=console) as log:
        for step in range(1, 5):
            log.step(step, 1)
            assert ("epoch 1/2" if epochs else f"step {step}/4") in look()
            assert f"{25 * step}%" in look()
        with log.doing("saving"):
            assert ("epoch 1/2: saving" if epochs else "step 4/4: saving") in look()
        with log.doing("evaluating"):
            assert ": evaluating" in look()
        assert ":" not in look().split("━")[0]
        log.stage("drawing the report")
        assert ": drawing the report" in look()


@pytest.mark.parametrize("width", [60, 80, 100])
def test_the_bar_fits_on_one_line_with_the_time_left(tmp_path: Path, width: int) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=width)
    with RunLog(tmp_path / "log.jsonl", epochs=300, steps=4, console=console) as log:
        log.pace.left = lambda _: "over 12:34:56 left"  # type: ignore[method-assign]
        for step in range(1, 4):
            log.steps(step, 111, images=32, seconds=1, loss=1 / 3, lr=1e-3)
        with log.doing("evaluating"):
            log._progress.refresh()  # type: ignore[union-attr]
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", screen.getvalue())
    lines = [line for line in re.split(r"[\r\n]+", text) if "evaluating" in line]
    assert lines
    for line in lines:
        assert len(line) <= width
        assert line.rstrip().endswith("over 12:34:56 left")
        assert line.startswith("epoch 111/300: evaluating")


def test_plain_lines_come_without_values_and_tell_what_takes_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(log_module.time, "monotonic", lambda: clock[0])
    screen = io.StringIO()
    with RunLog(tmp_path / "log.jsonl", epochs=3, steps=9, console=Console(file=screen, width=120)) as log:
        for step in range(1, 10):
            clock[0] += 21.0
            log.step(step, (step + 2) // 3)
            for what, seconds in (("saving", 1.0), ("evaluating", 40.0)) if step % 3 == 0 else ():
                with log.doing(what):
                    clock[0] += seconds
        log.stage("drawing the report")
    lines = screen.getvalue().splitlines()
    assert lines[:3] == [
        "epoch 1/3  step 1/9",
        "epoch 1/3  step 2/9  0:02:27 left",
        "epoch 1/3  step 3/9  0:02:06 left",
    ]
    assert [line for line in lines if ":" in line and "left" not in line] == [
        "epoch 1/3: saving",
        *(f"epoch {epoch}/3: evaluating" for epoch in (1, 2, 3)),
        "epoch 3/3: drawing the report",
    ]
    assert sum("step" in line for line in lines) == 9


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
    with pytest.raises(ValueError, match=r"-m pip install '\.\[tensorboard\]'"):
        RunLog(tmp_path / "log.jsonl", epochs=1, steps=1, tensorboard=True)
