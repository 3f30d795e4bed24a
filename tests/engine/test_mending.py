"""best/ and last/ are what the run has saved, or it says so: whatever is damaged, and whenever it is killed."""

import json
import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import nn

from apart import Apart
from engine.toy import ToyObjective, toy_plan, toy_run
from gcvit.data.sampling import Share
from gcvit.engine.loop import Plan
from gcvit.engine.results import Results
from gcvit.engine.run import run_events
from gcvit.errors import UserError
from gcvit.meta import list_checkpoints

PLAN = toy_plan(epochs=4, share=Share(16))  # two steps an epoch


class Moody(ToyObjective):
    """Its score goes up and down, and is a function of the weights: the second epoch is the best, the fourth is not."""

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        metrics = super().evaluate(model)
        return metrics | {"score": metrics["loss"] * 0.7 % 1}


def run(folder: Path, fail_at: int | None = None, plan: Plan = PLAN) -> Results:
    """A run of the toy, killed in its nth loss if so wished."""
    task = Moody(plan.share, fail_at=fail_at, failure=KeyboardInterrupt())
    return toy_run(folder, plan, task, dropout=0.5)[1]


def ended(folder: Path, results: Results) -> dict:
    """All that a run says and leaves at its end, but for times."""
    told = [(event["epoch"], event["score"], event["best"]) for event in results.evaluations]
    weights = {name: load_file(folder / name / "model.safetensors") for name in ("best", "last")}
    return {
        "said": (results.best_epoch, dict(results.best_metrics), results.last_epoch, told),
        "weights": {name: [tensor.tolist() for tensor in state.values()] for name, state in weights.items()},
        "left": sorted(path.name for path in folder.iterdir() if path.name != "checkpoints"),
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """A run that was never disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    found = ended(folder, run(folder))
    assert (found["said"][0], found["said"][2]) == (2, 4)
    return found


CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "open")


def killed_before(folder: Path, change: int, plan: Plan) -> bool:
    """Whether the run makes so many changes to its files: then it is killed before the last of them, as by SIGKILL."""
    child = os.fork()
    if child == 0:
        count = iter(range(10_000))

        def kill(event: str, arguments: tuple) -> None:
            here = event in CHANGES and str(folder) in str(arguments[0])
            if here and (event != "open" or "r" not in str(arguments[1])) and next(count) == change:
                os._exit(9)

        sys.addaudithook(kill)
        run(folder, plan=plan)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def kill_everywhere(place: Path, damaged: bool, least: int) -> None:
    """Kill a run, from its start or when its `damaged` weights are made again, before each change of its files; go on,
    and compare. There are more than `least` changes. To be called apart: a process that has threads cannot be forked
    safely."""
    plan = toy_plan(epochs=2, share=Share(32))  # a step an epoch
    whole = ended(place / "whole", run(place / "whole", plan=plan))
    change, killed = 0, True
    while killed:
        folder = place / str(change)
        if damaged:
            shutil.copytree(place / "whole", folder)
            for name in ("best", "last"):
                flip(folder / name / "model.safetensors")
        killed = killed_before(folder, change, plan)
        assert ended(folder, run(folder, plan=plan)) == whole, change
        change += 1
    assert change > least


def test_a_kill_between_any_two_writes_changes_nothing(tmp_path: Path) -> None:
    done = Apart(kill_everywhere, tmp_path, False, 40).done()
    assert done.returncode == 0, done.stderr


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 0x10
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def remove(path: Path) -> None:
    path.unlink()


def remove_all(path: Path) -> None:
    shutil.rmtree(path.parent)


LOST = (
    r"best/model\.safetensors(: damaged, .*| is missing)\. best/ had epoch 2 \(score 0\.7871\), and no "
    "checkpoint has these weights any more. Put the file back from a copy"
)
DAMAGES = [flip, cut, empty, remove, remove_all]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("losses", [None, 3, 4, 5, 7, 8])
@pytest.mark.parametrize("name", ["best", "last"])
def test_damaged_weights_are_made_again_or_told(
    whole: dict,
    tmp_path: Path,
    name: str,
    losses: int | None,
    damage: Callable[[Path], None],
    capsys: pytest.CaptureFixture,
) -> None:
    """Whenever the run was interrupted, or had ended."""
    folder = tmp_path / "run"
    if losses is None:
        run(folder)
    else:
        with pytest.raises(KeyboardInterrupt):
            run(folder, losses)
    damage(folder / name / "model.safetensors")
    capsys.readouterr()
    if name == "best" and losses in (None, 7, 8):
        # They are of the second epoch, and after the sixth step neither last/ nor a checkpoint has them any more.
        for _ in range(2):
            with pytest.raises(UserError, match=LOST):
                run(folder)
        return
    results = run(folder)
    said = capsys.readouterr().err
    damaged = f"{name}/model.safetensors"
    assert f"{damaged}: damaged" in said or f"{damaged} is missing" in said
    assert f"{name}/ was made again" in said
    assert ended(folder, results) == whole


def test_lost_weights_can_be_given_up(whole: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    run(folder)
    flip(folder / "best" / "model.safetensors")
    with pytest.raises(UserError, match=r"rename .*/best to damaged-best"):
        run(folder)
    (folder / "best").rename(folder / "damaged-best")
    results = run(folder)
    assert "best/ was made again, with epoch 4 (score 0.1695), from last" in capsys.readouterr().err
    assert results.best_epoch == 4
    assert [event["best"] for event in run_events(folder) if event["event"] == "evaluation"] == [
        True,
        True,
        False,
        True,
    ]
    found = ended(folder, results)["weights"]
    assert found["best"] == found["last"] == whole["weights"]["last"]
    shutil.rmtree(folder / "best")  # a second time, after they were made again
    assert run(folder).best_epoch == 4


@pytest.mark.parametrize("file", ["model.safetensors", "meta.json"])
@pytest.mark.parametrize("losses", [5, 7, None])
def test_results_of_a_checkpoint_that_is_damaged_are_kept(
    whole: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str], losses: int | None, file: str
) -> None:
    """The run goes back before evaluations whose weights are whole: they are not called damaged."""
    folder = tmp_path / "run"
    if losses is None:
        run(folder)
    else:
        with pytest.raises(KeyboardInterrupt):
            run(folder, losses)
    flip(list_checkpoints(folder / "checkpoints")[0] / file)
    before = (folder / "best" / "model.safetensors").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        run(folder, 1)
    assert (folder / "best" / "model.safetensors").read_bytes() == before
    assert "best/model.safetensors: damaged" not in capsys.readouterr().err
    assert ended(folder, run(folder)) == whole


def test_a_kill_while_they_are_made_again_changes_nothing(tmp_path: Path) -> None:
    done = Apart(kill_everywhere, tmp_path, True, 10).done()
    assert done.returncode == 0, done.stderr


LOG_DAMAGE = [
    *(b"\xff\xfe", b"5", b"[]", b"null", b"{}", b'{"event": 5, "time": 1}', b'{"time": 1}', b"[" * 100_000),
    *(b'{"event": "steps", "time": 1}', b'{"event": "evaluation", "time": 1, "step": 1, "epoch": NaN}', b"9" * 5000),
    *(b'{"event": "resume", "time": 1, "step": {}, "evaluated": 0}', b'{"event": ["steps"], "time": 1}'),
    *(b'{"event": "evaluation", "time": 1e999, "step": 2, "epoch": 1}', b'{"event": "steps", "time": "x"}'),
    b'{"event": "steps", "time": 1, "step": ' + b"9" * 400 + b', "epoch": 1, "loss": 1, "images_per_second": 1}',
]


def test_a_damaged_log_costs_its_lines_and_no_evaluation(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    results = run(folder)
    log = folder / "log.jsonl"
    lines = log.read_bytes().splitlines()
    draw = random.Random(0)
    for junk in LOG_DAMAGE:
        lines.insert(draw.randrange(len(lines)), junk)
    log.write_bytes(b"\n".join(lines) + b"\n")
    events = run_events(folder)
    assert [event for event in events if event["event"] == "evaluation"] == results.evaluations
    assert sum(event["event"] == "steps" for event in events) == 8
    for content in (b"", b"\n\n", b"\x00" * 1000, None):
        log.unlink() if content is None else log.write_bytes(content)
        assert run_events(folder) == results.evaluations
        run(folder)


def test_a_start_that_is_not_whole_is_not_told(tmp_path: Path) -> None:
    start = {"event": "start", "time": 1, "parameters": 1, "training_images": 1, "processes": 1, "device": "cpu"}
    start |= {"precision": "fp32", "versions": {}}
    for key in start:
        (tmp_path / "log.jsonl").write_text(json.dumps(start) + "\n")
        assert run_events(tmp_path) == [start]
        (tmp_path / "log.jsonl").write_text(json.dumps({**start, key: None}) + "\n")
        assert run_events(tmp_path) == []
