"""A checkpoint is whole or not there, and what was damaged later is noticed."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from apart import Apart
from engine.toy import ToyObjective, toy_model, toy_plan, toy_run
from gcvit import meta
from gcvit.engine import checkpoint
from gcvit.engine.checkpoint import (
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
    verify,
)
from gcvit.engine.loop import train_step
from gcvit.engine.settings import OptimConfig
from gcvit.engine.state import State
from gcvit.meta import DamagedCheckpoint, list_checkpoints, read_meta

RUNS_OUT = """
import resource, sys
from pathlib import Path
from torch import nn
from gcvit.engine.checkpoint import save_checkpoint
from gcvit.engine.settings import OptimConfig
from gcvit.engine.state import State

state = State(nn.Linear(4096, 4096), OptimConfig(ema_decay=None))
held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + 20 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (held, held))
try:
    save_checkpoint(Path(sys.argv[1]), state, {}, keep=1)
except MemoryError:
    print("MemoryError")
"""


def trained(steps: int, ema: float | None = 0.9) -> State:
    """A state after some steps of the toy."""
    plan = toy_plan(OptimConfig(lr=0.05, ema_decay=ema))
    state = State(toy_model(), plan.optim)
    batches = ToyObjective().batches(0)
    for _ in range(steps):
        train_step(state, batches, ToyObjective(), plan)
    return state


def contents(state: State) -> list:
    """Everything in a state, in one list of plain values."""
    optimizer = state.optimizer.state_dict()
    values = [state.step, str(optimizer["param_groups"])]
    values += [tensor.tolist() for moments in optimizer["state"].values() for tensor in moments.values()]
    for model in (state.model, state.result):
        values += [tensor.tolist() for tensor in model.state_dict().values()]
    return values


@pytest.mark.parametrize("ema", [0.9, None])
def test_what_is_loaded_is_what_was_saved(tmp_path: Path, ema: float | None) -> None:
    state, other = trained(3, ema), trained(1, ema)
    assert contents(state) != contents(other)
    path = save_checkpoint(tmp_path, state, {"of": "a test"}, keep=2)
    verify(path)
    assert (read_meta(path)["of"], read_meta(path)["step"]) == ("a test", 3)
    load_checkpoint(path, other)
    assert contents(other) == contents(state)


def test_the_optimisers_file_unpickles_nothing_but_tensors(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, trained(1), {}, keep=1)
    content = torch.load(path / "optimizer.pt", weights_only=True)
    assert set(content) == {"state", "param_groups"}


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for steps in (1, 2, 3, 4):
        save_checkpoint(tmp_path, trained(steps), {}, keep=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-000000004", "step-000000003"]


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= 0x10
    path.write_bytes(content)


def cut(path: Path, position: int) -> None:
    path.write_bytes(path.read_bytes()[: position % path.stat().st_size])


def remove(path: Path, position: int) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [flip, cut, remove])
@pytest.mark.parametrize("file", ["model.safetensors", "ema.safetensors", "optimizer.pt", "meta.json"])
def test_a_damaged_checkpoint_is_reported_and_the_one_before_is_taken(
    tmp_path: Path, file: str, damage: Callable[[Path, int], None]
) -> None:
    for position in (0, 11, 97, 1001):
        said: list[str] = []
        older = save_checkpoint(tmp_path, trained(1), {}, keep=9)
        newer = save_checkpoint(tmp_path, trained(2), {}, keep=9)
        assert newest_checkpoint(tmp_path, said.append) == newer
        damage(newer / file, position)
        with pytest.raises(DamagedCheckpoint, match=file):
            verify(newer)
        assert newest_checkpoint(tmp_path, said.append) == older
        (line,) = said
        assert str(newer / file) in line
        assert "put aside as damaged-step-000000002" in line


def test_when_all_are_damaged_nothing_starts_again_by_itself(tmp_path: Path) -> None:
    flip(save_checkpoint(tmp_path, trained(1), {}, keep=9) / "optimizer.pt", 5)
    for _ in range(2):  # also when they have been put aside already
        with pytest.raises(ValueError, match="all checkpoints in it are damaged"):
            newest_checkpoint(tmp_path, print)
    assert newest_checkpoint(tmp_path / "never", print) is None


def test_what_cannot_be_read_now_is_not_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_many(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    path = save_checkpoint(tmp_path, trained(1), {}, keep=9)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", too_many)
        with pytest.raises(OSError, match="Too many open files"):
            newest_checkpoint(tmp_path, print)
    assert newest_checkpoint(tmp_path, print) == path


def test_another_format_is_not_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_checkpoint(tmp_path, trained(1), {"versions": {"gcvit": "9.9"}}, keep=9)
    monkeypatch.setattr(meta, "FORMAT", 2)
    with pytest.raises(ValueError, match=r"format 1, .* reads 2; .*\(9\.9\)"):
        newest_checkpoint(tmp_path, print)
    assert list(tmp_path.iterdir()) == [path]


def test_what_killed_saves_left_behind_goes_with_the_next_one(tmp_path: Path) -> None:
    (tmp_path / ".step-000000077.writing").mkdir()
    path = save_checkpoint(tmp_path, trained(1), {}, keep=9)
    assert list(tmp_path.iterdir()) == [path]


def test_an_old_checkpoint_that_cannot_be_removed_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object, **__: object) -> None:
        raise OSError(39, "Directory not empty")

    save_checkpoint(tmp_path, trained(1), {}, keep=1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "rmdir", busy)
        save_checkpoint(tmp_path, trained(2), {}, keep=1)
    verify(list_checkpoints(tmp_path)[0])
    save_checkpoint(tmp_path, trained(3), {}, keep=1)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-000000003"]


def test_a_meta_that_was_edited_is_noticed(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, trained(2), {"epochs": 1}, keep=1)
    content = json.loads((path / "meta.json").read_text())
    content["meta"]["step"] = 1
    (path / "meta.json").write_text(json.dumps(content))
    with pytest.raises(DamagedCheckpoint, match="another"):
        verify(path)


@pytest.mark.parametrize("call", range(1, 7))
def test_a_full_disk_keeps_the_previous_one_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """At whichever of its six writes it happens: four files, their folder, the folder around it."""
    toy_run(tmp_path / "whole", toy_plan())
    real, count = os.fsync, 0

    def fsync(descriptor: int) -> None:
        nonlocal count
        count += 1
        if count == 12 + call:  # two checkpoints of six calls are written, and something of the third
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match=r"No space left .*checkpoint of step 3 could not be saved\. The ones before are"):
        toy_run(tmp_path / "run", toy_plan())
    monkeypatch.undo()
    left = list_checkpoints(tmp_path / "run" / "checkpoints")
    assert sorted(left) == sorted((tmp_path / "run" / "checkpoints").iterdir())  # and nothing half-written
    assert len(left) >= 2
    state, _ = toy_run(tmp_path / "run", toy_plan())
    whole, _ = toy_run(tmp_path / "whole", toy_plan())
    assert contents(state) == contents(whole)


def train_with_short_files(folder: Path, limit: int) -> None:
    """No file may grow beyond the limit, after the first epoch."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    toy_run(folder, toy_plan(epochs=1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        toy_run(folder, toy_plan())
    except OSError as error:
        print(error)


@pytest.mark.parametrize("limit", [300, 1000, 2500])
def test_a_write_that_really_fails_is_an_oserror_that_says_what_to_do(tmp_path: Path, limit: int) -> None:
    """Files may not grow beyond the limit, as on a full disk: of the weights, the optimiser and the log."""
    done = Apart(train_with_short_files, tmp_path / "run", limit).done()
    assert done.returncode == 0, done.stderr
    assert "File too large" in done.stdout
    assert str(tmp_path / "run") in done.stdout
    for path in list_checkpoints(tmp_path / "run" / "checkpoints"):
        verify(path)


class PanicException(BaseException):
    """What safetensors raises where it gets no memory; its own cannot be made here."""


NO_MEMORY = [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), PanicException()]


@pytest.mark.parametrize("error", NO_MEMORY, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("what", ["the checkpoint of step 3", "the weights of epoch 1"])
def test_memory_that_runs_out_while_saving_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, error: BaseException
) -> None:
    whole, _ = toy_run(tmp_path / "whole", toy_plan())
    real, count = checkpoint.save, iter(range(1, 100))

    def save(*arguments: object) -> bytes:
        if what == "the checkpoint of step 3" and next(count) == 6:  # two models a checkpoint
            raise error
        return real(*arguments)

    class Full(ToyObjective):
        def save(self, *arguments: Any) -> None:
            super().save(*arguments)
            if what == "the weights of epoch 1":
                raise error

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", save)
        with pytest.raises(OSError, match=f"not enough memory; {what} could not be saved. The ones before") as caught:
            toy_run(tmp_path / "run", toy_plan(), Full())
    assert caught.value.errno == errno.ENOMEM  # the command line shows it as one line
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["checkpoints", "log.jsonl"]
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        verify(path)
    state, _ = toy_run(tmp_path / "run", toy_plan())
    assert contents(state) == contents(whole)


def test_memory_that_really_runs_out_does_not_end_the_process(tmp_path: Path) -> None:
    """In a process of its own, which may have 20 MB more and saves 64 MB."""
    done = subprocess.run([sys.executable, "-c", RUNS_OUT, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout == "MemoryError\n"
    assert list(tmp_path.iterdir()) == []
