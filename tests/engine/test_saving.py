"""When a run saves, and what is written beside the state."""

from pathlib import Path

import pytest

from engine.toy import toy_model
from gcvit.engine import checkpoint
from gcvit.engine.checkpoint import Saver
from gcvit.engine.settings import OptimConfig
from gcvit.engine.state import State
from gcvit.meta import list_checkpoints, read_meta


def test_it_is_due_so_many_minutes_after_the_last_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: clock[0])
    state = State(toy_model(), OptimConfig())
    saver = Saver(tmp_path, {"of": "a test"}, minutes=2, keep=1)
    due = []
    for seconds in (119, 1, 0, 119, 2):
        clock[0] += seconds
        due.append(saver.due())
        if due == [False, True]:
            saver.save(state)
    assert due == [False, True, False, False, True]
    (path,) = list_checkpoints(tmp_path)
    meta = read_meta(path)
    assert (meta["of"], meta["processes"], meta["step"]) == ("a test", 1, 0)
    assert {"python", "torch", "timm"} <= set(meta["versions"])
