"""A run's folder is its own, and the same command finds it again."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.toy import toy_model
from gcvit.engine import folder
from gcvit.engine.checkpoint import save_checkpoint
from gcvit.engine.config import differences
from gcvit.engine.folder import REPORT, RunFolder, open_run
from gcvit.engine.settings import OptimConfig
from gcvit.engine.state import State
from gcvit.errors import UserError

CONFIG = {"epochs": 3, "workers": 0, "optim": {"lr": 0.1}}
FREE = ("workers",)


def opened(out: Path | None, runs: Path, config: dict = CONFIG, resume: str = "auto", name: str = "a") -> RunFolder:
    """The folder of a run that has written its configuration."""
    run = open_run(out, name, {"config": config}, resume=resume, free=FREE, runs=runs)
    (run.path / "train.json").write_text(json.dumps(config))
    return run


def test_finished_runs_count_up_and_gaps_before_the_first_free_one_are_taken(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        run = opened(None, tmp_path)
        assert (run.path.name, run.goes_on) == (f"a-00{number}", False)
        (run.path / REPORT).touch()
    assert opened(None, tmp_path, name="b").path.name == "b-001"
    for file in (tmp_path / "a-002").iterdir():
        file.unlink()
    (tmp_path / "a-002").rmdir()
    assert opened(None, tmp_path).path == tmp_path / "a-002"


def test_the_last_unfinished_run_of_the_same_configuration_goes_on(tmp_path: Path) -> None:
    first = opened(None, tmp_path)
    del first  # the process ends
    for config in (CONFIG, CONFIG | {"workers": 4}):
        again = opened(None, tmp_path, config)
        assert (again.path.name, again.goes_on) == ("a-001", True)
        del again
    assert opened(None, tmp_path, CONFIG | {"epochs": 4}).path.name == "a-002"
    assert opened(None, tmp_path).path.name == "a-001"  # also when another run has begun since
    assert opened(None, tmp_path, resume="never").path.name == "a-003"


HOLD = """
import os, sys, time
from pathlib import Path
from gcvit.engine.folder import open_run
config = {"epochs": 3, "workers": 0, "optim": {"lr": 0.1}}
run = open_run(None, "a", {"config": config}, resume="auto", runs=Path(sys.argv[1]))
(run.path / "train.json").write_text('{"epochs": 3, "workers": 0, "optim": {"lr": 0.1}}')
if os.fork() == 0:  # a loader process, which outlives its parent
    time.sleep(60)
print("here", os.getpid(), flush=True)
time.sleep(60)
"""


def test_a_folder_that_another_process_writes_is_left_to_it_while_it_lives(tmp_path: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert other.stdout is not None
    try:
        assert "here" in other.stdout.readline()
        assert opened(None, tmp_path).path.name == "a-002"
        with pytest.raises(ValueError, match="another process is training into it"):
            opened(tmp_path / "a-001", tmp_path)
        other.kill()
        other.wait()
        assert opened(tmp_path / "a-001", tmp_path).goes_on  # at once, although its child lives on
    finally:
        os.killpg(other.pid, signal.SIGKILL)


def test_a_folder_with_something_else_in_it_or_a_file_is_refused(tmp_path: Path) -> None:
    for _ in range(2):
        assert open_run(tmp_path / "deep" / "new", "a", {"config": CONFIG}, resume="auto").path.is_dir()  # still empty
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="has files in it already, but no run"):
        opened(tmp_path, tmp_path)
    for wrong, said in ((tmp_path / "file", "is a file"), ("/proc/nothing", "^/proc/nothing: no results can be")):
        with pytest.raises(UserError, match=said):
            opened(Path(wrong), tmp_path)
    assert not (tmp_path / ".lock").exists()
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / ".train.json.writing").touch()  # by a process that was killed then
    assert not opened(tmp_path / "killed", tmp_path).goes_on


def test_a_run_goes_on_with_the_same_configuration_only(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert not opened(out, tmp_path).goes_on
    assert opened(out, tmp_path, CONFIG | {"workers": 9}).goes_on
    with pytest.raises(ValueError, match=r"another configuration.*: epochs: 3 → 4; optim\.lr: 0\.1 → 0\.2\. Give"):
        opened(out, tmp_path, {"epochs": 4, "workers": 1, "optim": {"lr": 0.2}})
    with pytest.raises(ValueError, match="resume is never"):
        opened(out, tmp_path, resume="never")
    (out / "train.json").write_text("{")
    with pytest.raises(ValueError, match=r"train\.json: not readable as JSON"):
        opened(out, tmp_path)


def test_differences_name_every_key_that_is_not_free() -> None:
    before = {"a": 1, "b": {"c": [1, 2], "d": None}, "old": True}
    after = {"a": 2, "b": {"c": [1, 3], "d": None}, "new": "x"}
    assert differences(before, after) == [
        "a: 1 → 2", "b.c: [1, 2] → [1, 3]", "old: true → not there", 'new: not there → "x"',
    ]  # fmt: skip
    assert differences(before, after, free=("b.c", "old", "new")) == ["a: 1 → 2"]
    assert differences(before, before) == []


def record(data: str | None = None, **changes: object) -> dict:
    """What a run on some data says of itself."""
    place = data and os.path.abspath(data)
    return {"config": CONFIG | {"data": data}, "places": {"data": place}, "images": 9, "names": "abc"} | changes


def begin(now: dict, runs: Path, out: Path | None = None, resume: str = "auto", saved: bool = True) -> RunFolder:
    """Open a run's folder and, where it is new, write what a run leaves that is killed: its checkpoint, if saved."""
    run = open_run(out, "a", now, resume=resume, free=FREE, runs=runs)
    if not run.goes_on:
        (run.path / "train.json").write_text(json.dumps(now["config"]))
        if saved:
            save_checkpoint(run.path / "checkpoints", State(toy_model(), OptimConfig()), now, keep=1)
    return run


@pytest.mark.parametrize("saved", [False, True])
def test_other_data_are_another_run_unless_they_have_moved(tmp_path: Path, saved: bool) -> None:
    runs, photos, elsewhere = tmp_path / "runs", str(tmp_path / "photos"), str(tmp_path / "elsewhere")
    assert begin(record(photos), runs, saved=saved).path.name == "a-001"
    other = begin(record(elsewhere), runs, saved=saved)
    assert (other.path.name, other.goes_on) == ("a-002", False)
    assert other.notes == [f"{runs}/a-001 is unfinished and has other data; if they have only moved, add --data-moved"]
    del other
    assert begin(record(None), runs).path.name == "a-003"
    for same in (photos, f"{photos}/", f"{tmp_path}/x/../photos"):
        run = begin(record(same), runs)
        assert (run.path.name, run.goes_on, run.notes) == ("a-001", True, [])
        del run
    moved = begin(record(str(tmp_path / "new place")), runs, resume="moved")
    assert (moved.path.name, moved.goes_on) == ("a-003", True)
    del moved
    with pytest.raises(
        UserError, match=r"data: .*photos → .*elsewhere\. If the same images lie there now, add --data-m"
    ):
        begin(record(elsewhere), runs, out=runs / "a-001")
    assert begin(record(elsewhere), runs, out=runs / "a-001", resume="moved").goes_on


def test_the_same_words_from_elsewhere_are_other_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        monkeypatch.chdir(tmp_path / place)
        assert begin(record("photos"), tmp_path / "runs").path.name == {"here": "a-001", "there": "a-002"}[place]
    (tmp_path / "link").symlink_to(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "link")
    assert begin(record("photos"), tmp_path / "runs").path.name == "a-001"


@pytest.mark.parametrize("resume", ["auto", "moved"])
def test_one_image_fewer_is_a_new_run(tmp_path: Path, resume: str) -> None:
    begin(record("photos"), tmp_path)
    for changed in ({"images": 8}, {"names": "abd"}):
        run = begin(record("photos", **changed), tmp_path, resume=resume)
        assert not run.goes_on
        with pytest.raises(UserError, match="training images"):
            begin(record("photos", **changed), tmp_path, out=tmp_path / "a-001", resume=resume)
    assert begin(record("photos"), tmp_path).path.name == "a-001"


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"5", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b"{}", b'{"epochs": 4}', b'{"data": [5]}', None],
)
def test_a_damaged_configuration_does_not_keep_a_run_from_going_on(tmp_path: Path, content: bytes | None) -> None:
    """The checkpoint has it; and where it has not, the folder may be anybody's."""
    for saved in (True, False):
        run = begin(record("photos"), tmp_path, saved=saved)
        file = run.path / "train.json"
        del run
        if content is None:
            file.unlink()
        else:
            file.write_bytes(content)
        for out in (None, file.parent):
            if saved:
                run = begin(record("photos"), tmp_path, out=out)
                assert (run.path, run.goes_on) == (file.parent, True)
                lost = content is None or content[:1] != b"{" or content == b"{"
                assert run.notes == ([f"{file}: damaged or missing; it is written anew"] if lost else [])
                del run
            elif out is None:
                assert begin(record("photos"), tmp_path).path.name == "a-003"
            elif content is not None:
                with pytest.raises(UserError, match=r"train\.json|another configuration"):
                    begin(record("photos"), tmp_path, out=out)
        if saved:
            (file.parent / REPORT).touch()


def test_what_another_process_does_between_comparing_and_locking_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run with other settings takes the folder, and has ended again when the lock is ours."""
    lock = folder._lock

    def late(path: Path) -> object:
        monkeypatch.setattr(folder, "_lock", lock)
        (path / "train.json").write_text(json.dumps(CONFIG | {"epochs": 77}))
        return lock(path)

    monkeypatch.setattr(folder, "_lock", late)
    with pytest.raises(UserError, match="epochs: 77 → 3"):
        open_run(tmp_path / "run", "a", {"config": CONFIG}, resume="auto")
    opened(None, tmp_path)
    monkeypatch.setattr(folder, "_lock", late)
    assert opened(None, tmp_path).path.name == "a-002"
