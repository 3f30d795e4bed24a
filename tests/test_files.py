"""Atomic writes: the new content, or the old one and nothing beside it."""

import os
from pathlib import Path

import pytest

from gcvit.engine.config import save_config
from gcvit.engine.optim import OptimConfig
from gcvit.files import write_atomically


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("step", ["fsync", "rename"])
def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = tmp_path / "train.json"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    monkeypatch.setattr(*((os, "fsync", full) if step == "fsync" else (Path, "replace", full)))
    for write in (lambda: write_atomically(path, b"newer"), lambda: save_config(OptimConfig(), path)):
        with pytest.raises(OSError, match="No space left"):
            write()
        assert path.read_bytes() == b"new"
        assert list(tmp_path.iterdir()) == [path]
